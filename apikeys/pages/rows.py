"""Keys as lists show them: each with its permissions and a month of use, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from apikeys.models import APIKey
from apikeys.usage.analytics import daily_requests
from apikeys.usage.sparklines import Sparkline, sparkline

DAYS = 30


class KeyRow(NamedTuple):
    key: APIKey
    use: Sparkline


def key_rows(keys: Iterable[APIKey]) -> list[KeyRow]:
    keys = list(keys)
    counts = daily_requests([key.pk for key in keys], DAYS) if keys else {}
    return [KeyRow(key, sparkline(counts[key.pk])) for key in keys]
