from __future__ import annotations

from apikeys.usage.sparklines import sparkline


def test_the_busiest_day_fills_the_height_and_any_day_with_use_shows():
    line = sparkline([0, 1, 1000])
    assert line.path == "M3 20v-1h2v1zM6 20v-20h2v20z"
    assert line.title == "1,001 requests in 3 days, up to 1,000 per day"
    assert (line.total, line.width) == (1001, 9)


def test_no_use_is_a_flat_line():
    assert sparkline([0] * 30).path == ""
    assert sparkline([]).path == ""
