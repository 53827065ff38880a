"""System checks: a limiter that would not count, or count wrongly, does not start."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connections

from ratelimits.limiter import store_name
from ratelimits.matching import validate_pattern
from ratelimits.models import LARGEST_LIMIT, LONGEST_PERIOD

STORES = ("redis", "postgresql", "sqlite", "memory")


@register(Tags.security)
def limiter_can_count(**kwargs: Any) -> list[CheckMessage]:
    return [*store_errors(), *default_errors(), *path_errors()]


def store_errors() -> Iterator[CheckMessage]:
    name, vendor = store_name(), connections[DEFAULT_DB_ALIAS].vendor
    if name not in STORES:
        yield Error(f"RATE_LIMIT_STORE is “{name}”.", hint=f"Set one of {', '.join(STORES)}.", id="ratelimits.E001")
    if name == "memory" and (not settings.DEBUG or workers() > 1):
        yield Error(
            "RATE_LIMIT_STORE=memory counts for each worker alone, so limits would be exceeded.",
            hint="Leave RATE_LIMIT_STORE empty; memory is for tests in one process.",
            id="ratelimits.E002",
        )
    if name == "redis" and not settings.REDIS_URL:
        yield Error("RATE_LIMIT_STORE=redis needs an address.", hint="Set REDIS_URL.", id="ratelimits.E003")
    if name == "postgresql" and vendor != "postgresql":
        yield Error(
            f"RATE_LIMIT_STORE=postgresql needs the project's database to be PostgreSQL; it is {vendor}.",
            hint="Leave RATE_LIMIT_STORE empty, or set DATABASE_URL.",
            id="ratelimits.E004",
        )


def workers() -> int:
    """How many workers gunicorn was told to start, as far as the environment tells."""
    given = os.environ.get("WEB_CONCURRENCY", "1")
    return int(given) if given.isdigit() else 1


def default_errors() -> Iterator[CheckMessage]:
    if not 1 <= settings.DEFAULT_RATE_LIMIT_LIMIT <= LARGEST_LIMIT:
        yield Error(f"DEFAULT_RATE_LIMIT_LIMIT must be 1 to {LARGEST_LIMIT:,}.", id="ratelimits.E005")
    if not 1 <= settings.DEFAULT_RATE_LIMIT_PERIOD <= LONGEST_PERIOD:
        yield Error(f"DEFAULT_RATE_LIMIT_PERIOD must be 1 to {LONGEST_PERIOD:,} seconds.", id="ratelimits.E006")


def path_errors() -> Iterator[CheckMessage]:
    for pattern in settings.RATE_LIMITED_PATHS:
        try:
            validate_pattern(pattern)
        except ValidationError as error:
            yield Error(f"RATE_LIMITED_PATHS has “{pattern}”. {error.messages[0]}", id="ratelimits.E007")
