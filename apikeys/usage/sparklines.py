"""Word-sized bar charts, drawn by templates/apikeys/usage/_sparkline.html."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from config.base.text import counted

BAR, GAP, HEIGHT = 2, 1, 20


class SparkBar(NamedTuple):
    x: int
    y: int
    height: int


class Sparkline(NamedTuple):
    title: str
    total: int
    width: int
    bars: list[SparkBar]
    height: int = HEIGHT
    bar: int = BAR


def sparkline(counts: Sequence[int]) -> Sparkline:
    """counts: for each day, oldest first. A day with any requests is at least one pixel high."""
    peak = max(counts, default=0)
    bars = []
    for number, count in enumerate(counts):
        height = max(1, round(count / peak * HEIGHT)) if count else 0
        bars.append(SparkBar(number * (BAR + GAP), HEIGHT - height, height))
    title = f"{counted(sum(counts), 'request')} in {len(counts)} days, up to {peak:,} per day"
    return Sparkline(title, sum(counts), len(counts) * (BAR + GAP), bars)
