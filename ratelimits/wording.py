"""Limits as people say them."""

from __future__ import annotations

from config.base_text import period_in_words


def rate_in_words(limit: int, period: int, window: str = "rolling") -> str:
    """“100 per minute”; for quotas “10,000 per day, by the UTC clock” and “1,000 per calendar month”."""
    if window == "month":
        return f"{limit:,} per calendar month"
    words = f"{limit:,} per {period_in_words(period)}"
    return f"{words}, by the UTC clock" if window == "fixed" else words
