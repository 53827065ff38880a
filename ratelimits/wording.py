"""Limits as people say them."""

from __future__ import annotations

UNITS = ((7 * 24 * 3600, "week"), (24 * 3600, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def period_in_words(period: int) -> str:
    """“minute” for 60, “5 minutes” for 300, “90 seconds” for 90."""
    seconds, unit = next((seconds, unit) for seconds, unit in UNITS if period % seconds == 0)
    number = period // seconds
    return unit if number == 1 else f"{number:,} {unit}s"


def rate_in_words(limit: int, period: int, window: str = "rolling") -> str:
    """“100 per minute”; for quotas “10,000 per day, by the UTC clock” and “1,000 per calendar month”."""
    if window == "month":
        return f"{limit:,} per calendar month"
    words = f"{limit:,} per {period_in_words(period)}"
    return f"{words}, by the UTC clock" if window == "fixed" else words
