"""System checks for settings that would keep the limiter from counting, or from counting correctly."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.exceptions import ValidationError
from django.db import DEFAULT_DB_ALIAS, connections

from config.base.patterns import validate_pattern
from config.base.periods import MAX_PERIOD
from ratelimits.limiter import store_name
from ratelimits.models import MAX_LIMIT

STORES = ("redis", "postgresql", "sqlite", "memory")


@register(Tags.security)
def limiter_can_count(**kwargs: Any) -> list[CheckMessage]:
    return [*store_errors(), *default_errors(), *path_errors()]


def store_errors() -> Iterator[CheckMessage]:
    name, vendor = store_name(), connections[DEFAULT_DB_ALIAS].vendor
    if name not in STORES:
        yield Error(
            f"RATE_LIMIT_STORE is “{name}”, which isn't a store.",
            hint=f"Set it to one of {', '.join(STORES)}.",
            id="ratelimits.E001",
        )
    if name == "memory" and (not settings.DEBUG or workers() > 1):
        yield Error(
            "With RATE_LIMIT_STORE=memory each worker counts for itself, so clients could exceed their limits.",
            hint="Leave RATE_LIMIT_STORE empty. The memory store is only for tests.",
            id="ratelimits.E002",
        )
    if name == "redis" and not settings.REDIS_URL:
        yield Error("RATE_LIMIT_STORE=redis needs REDIS_URL.", hint="Set REDIS_URL.", id="ratelimits.E003")
    if name == "postgresql" and vendor != "postgresql":
        yield Error(
            f"RATE_LIMIT_STORE=postgresql needs a PostgreSQL database, but the database is {vendor}.",
            hint="Leave RATE_LIMIT_STORE empty, or set DATABASE_URL to a PostgreSQL database.",
            id="ratelimits.E004",
        )


def workers() -> int:
    given = os.environ.get("WEB_CONCURRENCY", "1")
    return int(given) if given.isdigit() else 1


def default_errors() -> Iterator[CheckMessage]:
    if not 1 <= settings.DEFAULT_RATE_LIMIT_LIMIT <= MAX_LIMIT:
        yield Error(f"DEFAULT_RATE_LIMIT_LIMIT must be from 1 to {MAX_LIMIT:,}.", id="ratelimits.E005")
    if not 1 <= settings.DEFAULT_RATE_LIMIT_PERIOD <= MAX_PERIOD:
        yield Error(f"DEFAULT_RATE_LIMIT_PERIOD must be from 1 to {MAX_PERIOD:,} seconds.", id="ratelimits.E006")


def path_errors() -> Iterator[CheckMessage]:
    for pattern in settings.RATE_LIMITED_PATHS:
        try:
            validate_pattern(pattern)
        except ValidationError as error:
            yield Error(
                f"RATE_LIMITED_PATHS has an invalid path, “{pattern}”. {error.messages[0]}", id="ratelimits.E007"
            )
