"""Numbers and times as text, and their template filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.template import Context, Template

from config.base.text import ago, counted, exact

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("back", "words"),
    [
        ({"seconds": 0}, "just now"),
        ({"seconds": 45}, "just now"),
        ({"seconds": 46}, "1 minute ago"),
        ({"minutes": 3}, "3 minutes ago"),
        ({"minutes": 50}, "1 hour ago"),
        ({"hours": 5}, "5 hours ago"),
        ({"hours": 23}, "1 day ago"),
        ({"days": 12}, "12 days ago"),
        ({"days": 46}, "30 Apr 2026"),
        ({"seconds": -10}, "in a moment"),
        ({"minutes": -10}, "in 10 minutes"),
        ({"days": -1}, "in 1 day"),
        ({"days": -400}, "20 Jul 2027"),
    ],
)
def test_ago(back, words):
    assert ago(NOW - timedelta(**back), NOW) == words


def test_counted():
    assert [counted(n, "key") for n in (0, 1, 2, 3000)] == ["0 keys", "1 key", "2 keys", "3,000 keys"]
    assert counted(2, "entry", "entries") == "2 entries"


def test_exact():
    assert exact(datetime(2026, 1, 2, 3, 4, 5, 999, tzinfo=UTC)) == "2026-01-02 03:04:05 UTC"


def render(source, **context):
    return Template("{% load gatehouse %}" + source).render(Context(context))


def test_the_ago_filter_renders_a_time_element_with_the_exact_time_on_hover():
    moment = datetime.now(UTC) - timedelta(hours=2)
    html = render("{{ moment|ago }}", moment=moment)
    assert html == (
        f'<time datetime="{moment.isoformat(timespec="seconds")}" title="{exact(moment)}">2 hours ago</time>'
    )


def test_time_filters_render_a_default_for_none():
    assert render('{{ none|ago }} {{ none|ago:"not yet" }} {{ none|exact }}', none=None) == "never not yet –"
    assert "UTC</time>" in render("{{ moment|exact }}", moment=NOW)


def test_the_counted_filter():
    assert render('{{ n|counted:"key" }}, {{ n|counted:"entry,entries" }}', n=3) == "3 keys, 3 entries"
    assert render('{{ none|counted:"key" }}', none=None) == "0 keys"
