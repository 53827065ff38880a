from __future__ import annotations

from apikeys.usage.sparklines import sparkline


def test_busiest_day_has_full_height_and_every_used_day_is_visible():
    line = sparkline([0, 1, 1000])
    assert line.path == "M3 20v-1h2v1zM6 20v-20h2v20z"
    assert line.title == "1,001 requests in 3 days, up to 1,000 per day"
    assert (line.total, line.width) == (1001, 9)


def test_no_usage_has_no_bars():
    assert sparkline([0] * 30).path == ""
    assert sparkline([]).path == ""
