"""The template filters `period` and `duration`."""

from __future__ import annotations

import pytest
from django.template import Context, Template


def render(text, **values):
    return Template("{% load gatehouse %}" + text).render(Context(values))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "second"), (60, "minute"), (90, "90 seconds"), (300, "5 minutes"), (86_400, "day"), (604_800, "week"),
     (2_678_400, "31 days"), (None, ""), (0, "")],
)  # fmt: skip
def test_period(seconds, words):
    assert render("{{ seconds|period }}", seconds=seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 seconds"), (1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (121, "3 minutes"),
     (1761, "30 minutes"), (7199, "120 minutes"), (7201, "3 hours"), (200_000, "3 days"), (14 * 86_400, "2 weeks"),
     (2_678_400, "5 weeks")],
)  # fmt: skip
def test_duration_is_rounded_up(seconds, words):
    assert render("{{ seconds|duration }}", seconds=seconds) == words
