from __future__ import annotations

from apikeys.usage.sparklines import HEIGHT, sparkline


def test_the_busiest_day_fills_the_height_and_any_day_with_use_shows():
    line = sparkline([0, 1, 1000])
    assert [bar.height for bar in line.bars] == [0, 1, HEIGHT]
    assert [bar.y + bar.height for bar in line.bars] == [HEIGHT] * 3
    assert line.title == "1,001 requests in 3 days, up to 1,000 per day"
    assert line.total == 1001


def test_no_use_is_a_flat_line():
    assert {bar.height for bar in sparkline([0] * 30).bars} == {0}
    assert sparkline([]).bars == []
