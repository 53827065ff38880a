"""Word-sized bar charts. Lists have many, so no template draws them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.utils.html import format_html

from config.base.text import counted

BAR, GAP, HEIGHT = 2, 1, 20
# The fields of a Sparkline, the height of its ground line, and the total with separators.
SVG = (
    '<span class="sparkline"><svg width="{2}" height="{4}" viewBox="0 0 {2} {4}" role="img" aria-label="{0}">'
    '<title>{0}</title><path class="sparkline-ground" d="M0 {5}h{2}v1h-{2}z"/><path d="{3}"/></svg>'
    '<span class="num">{6}</span></span>'
)


class Sparkline(NamedTuple):
    title: str
    total: int
    width: int
    # All bars are one element, because a list has thousands of them.
    path: str
    height: int = HEIGHT

    def __str__(self) -> str:
        return format_html(SVG, *self, self.height - 1, f"{self.total:,}")

    def __html__(self) -> str:
        return str(self)


def sparkline(counts: Sequence[int]) -> Sparkline:
    """counts: for each day, oldest first. A day with any requests is at least one pixel high."""
    peak = max(counts, default=0)
    bars = []
    for number, count in enumerate(counts):
        if count:
            height = max(1, round(count / peak * HEIGHT))
            bars.append(f"M{number * (BAR + GAP)} {HEIGHT}v-{height}h{BAR}v{height}z")
    title = f"{counted(sum(counts), 'request')} in {len(counts)} days, up to {peak:,} per day"
    return Sparkline(title, sum(counts), len(counts) * (BAR + GAP), "".join(bars))
