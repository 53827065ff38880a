"""Coordinates of bar charts, which templates/base/bars.html draws as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 960, 200
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 10, 24
STEPS = 4
MAX_LABELS = 8

Figure = tuple[str, *tuple[int, ...]]


@dataclass(frozen=True)
class Bar:
    series: int
    x: float
    y: float
    width: float
    height: float
    label: str
    value: int
    url: str = ""


@dataclass(frozen=True)
class Tick:
    position: float
    label: str


@dataclass(frozen=True)
class Chart:
    title: str
    series: Sequence[str]
    figures: Sequence[Figure]
    urls: Sequence[Sequence[str]]
    bars: Sequence[Bar]
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    baseline: int = HEIGHT - BOTTOM

    @property
    def rows(self) -> list[tuple[str, list[tuple[int, str]]]]:
        """For the table: each label with its values and their URLs."""
        return [
            (label, list(zip(values, urls or [""] * len(values), strict=True)))
            for (label, *values), urls in zip(self.figures, self.urls or [()] * len(self.figures), strict=True)
        ]

    @property
    def is_empty(self) -> bool:
        return not any(any(figure[1:]) for figure in self.figures)


def bar_chart(
    title: str, figures: Sequence[Figure], series: Sequence[str], urls: Sequence[Sequence[str]] = ()
) -> Chart:
    """Stacked bars. figures: (label, value, …) for each bar, with a value ≥0 for each name in `series`, bottom first.

    urls: the link of each of these values; empty if they have none.
    """
    top = nice_ceiling(max((sum(figure[1:]) for figure in figures), default=0))
    slot = (WIDTH - LEFT - RIGHT) / max(len(figures), 1)
    bars = [
        bar
        for index, figure in enumerate(figures)
        for bar in stack(figure, urls[index] if urls else (), LEFT + index * slot, slot, top)
    ]
    return Chart(title, series, figures, urls, bars, x_ticks(figures, slot), y_ticks(top))


def stack(figure: Figure, urls: Sequence[str], left: float, slot: float, top: int) -> list[Bar]:
    bars, base, scale = [], float(HEIGHT - BOTTOM), (HEIGHT - TOP - BOTTOM) / top
    for series, value in enumerate(figure[1:]):
        height = round(value * scale, 2)
        base = round(base - height, 2)
        if value:
            x, width = round(left + slot * 0.12, 2), round(slot * 0.76, 2)
            url = urls[series] if urls else ""
            bars.append(Bar(series, x, base, width, height, figure[0], value, url))
    return bars


def nice_ceiling(value: int) -> int:
    """The smallest of 4, 8, 12, 20, 40, 80, 120, 200 … that is at least `value`, for an axis with whole steps."""
    power = 1
    while True:
        for step in (1, 2, 3, 5):
            if step * STEPS * power >= value:
                return step * STEPS * power
        power *= 10


def x_ticks(figures: Sequence[Figure], slot: float) -> list[Tick]:
    every = max(1, -(-len(figures) // MAX_LABELS))
    return [
        Tick(round(LEFT + (index + 0.5) * slot, 2), figure[0])
        for index, figure in enumerate(figures)
        if index % every == 0
    ]


def y_ticks(top: int) -> list[Tick]:
    span = HEIGHT - TOP - BOTTOM
    return [
        Tick(round(HEIGHT - BOTTOM - span * step / STEPS, 2), f"{top * step // STEPS:,}") for step in range(STEPS + 1)
    ]
