"""Bar charts have readable axes, and the same values in a table."""

from __future__ import annotations

import re

import pytest
from django.template import Context, Template
from hypothesis import given
from hypothesis import strategies as st

from config.base.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, bar_chart, nice_ceiling

FIGURES = st.lists(st.tuples(st.text(max_size=5), st.integers(0, 10**9), st.integers(0, 10**9)), max_size=40)


@given(FIGURES)
def test_bars_are_inside_the_chart(figures):
    chart = bar_chart("x", figures, ["a", "b"])
    assert len(chart.bars) == sum(1 for figure in figures for value in figure[1:] if value)
    for bar in chart.bars:
        assert LEFT <= bar.x <= bar.x + bar.width <= WIDTH - RIGHT + 0.02
        assert TOP - 0.02 <= bar.y <= bar.y + bar.height <= HEIGHT - BOTTOM + 0.02


@pytest.mark.parametrize(
    ("value", "top"), [(0, 4), (1, 4), (5, 8), (9, 12), (13, 20), (21, 40), (100, 120), (10**6, 1_200_000)]
)
def test_the_axis_ends_at_a_round_number(value, top):
    assert nice_ceiling(value) == top


def test_bars_of_several_series_are_stacked():
    lower, upper = bar_chart("x", [("now", 3, 1)], ["a", "b"]).bars
    assert lower.y == pytest.approx(upper.y + upper.height)
    assert lower.height == pytest.approx(3 * upper.height)


def test_a_long_axis_has_few_labels():
    chart = bar_chart("x", [(str(n), 1) for n in range(30)], ["a"])
    assert len(chart.x_ticks) <= 8
    assert [tick.label for tick in chart.y_ticks] == ["0", "1", "2", "3", "4"]


def render(figures, *series):
    names = " ".join(f'"{name}"' for name in series)
    template = Template(f"{{% load gatehouse %}}{{% bars title figures {names} %}}")
    return template.render(Context({"title": "Req <b>", "figures": figures}))


def test_a_chart_has_a_title_a_legend_and_a_table():
    html = render([("<i>1</i>", 1234, 5)], "Allowed", "Denied")
    assert "Req &lt;b&gt;" in html
    assert "&lt;i&gt;1&lt;/i&gt;" in html
    assert "<i>" not in html
    assert re.findall('<td class="num">(.*?)</td>', html) == ["1,234", "5"]
    assert html.count("<rect") == 2
    assert "Denied</li>" in html
    assert "style=" not in html


def test_one_series_has_no_legend_and_no_data_no_chart():
    assert "chart-legend" not in render([("a", 1)], "All")
    assert "No data for this period." in render([], "All")
    assert "<svg" not in render([("a", 0)], "All")
