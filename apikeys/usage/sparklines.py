"""Word-sized bar charts, drawn by templates/apikeys/usage/_sparkline.html."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from config.base.text import counted

BAR, GAP, HEIGHT = 2, 1, 20


class Sparkline(NamedTuple):
    title: str
    total: int
    width: int
    # Of an SVG: all bars are one element, because a list has thousands of them.
    path: str
    height: int = HEIGHT


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
