"""Read all that decisions need to know of keys in one statement: keys, permissions, owners and their tiers.

Written as SQL and run without Django's cursor, because every request to the API waits for it: the ORM takes ten times as
long to build the statement as the database takes to answer it. Nothing read here is cached.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from apikeys.decision.statements import database_time, identifier, listed, run, vendor
from apikeys.secrets import candidate_hashes
from ratelimits.rules import COLUMNS

# `last_used_at` moves forward at most this often for each key: true to the minute, and no hot row.
USE_INTERVAL = timedelta(minutes=1)


class TierRecord(NamedTuple):
    id: int
    name: str
    # As permissions.
    access: Sequence[str]


class KeyRecord(NamedTuple):
    """A key found by its secret, with its owner and tier. Times have already been compared with the current time."""

    id: UUID
    name: str
    prefix: str
    last4: str
    is_active: bool
    is_revoked: bool
    is_expired: bool
    rate_limit: int | None
    rate_period: int | None
    rate_window: str
    allowed_ips: Sequence[str]
    user_id: int
    username: str
    owner_is_active: bool
    owner_is_live: bool
    tier_id: int | None
    tier_name: str | None
    billing_day: int
    # The owner's own rate limits that are in force, as lists in JSON with commas between them.
    own_limits: str | None
    # Each as “action resource” or “action resource at host”.
    permissions: Sequence[str]
    # As permissions; empty without a tier.
    tier_access: Sequence[str]
    # Whether the key, or the secret it was found by, was last used a minute or more ago.
    use_is_due: bool
    # The secret is the one before the last rotation, and whether its grace period is over.
    is_previous: bool
    grace_is_over: bool
    # The hash that matched isn't ours, or was made under a pepper that is no longer the newest.
    is_outdated: bool


# Among the columns after the id.
ALLOWED_IPS = KeyRecord._fields.index("allowed_ips") - 1

# The same statement also looks for the previous secret, which works during its grace period.
SELECT = """
SELECT k.secret_hash, k.previous_hash,
       COALESCE(k.secret_last_used_at <= :due, true),
       COALESCE(k.previous_last_used_at <= :due, true),
       k.previous_expires_at IS NULL OR k.previous_expires_at <= :now,
       k.last_used_at IS NULL OR k.last_used_at <= :due,
       k.id, k.name, k.prefix, k.last4, k.is_active,
       k.revoked_at IS NOT NULL,
       k.expires_at IS NOT NULL AND k.expires_at <= :now,
       k.rate_limit, k.rate_period, k.rate_window, k.allowed_ips,
       u.id, u.username, u.is_active, u.deleted_at IS NULL,
       t.id, t.name, u.billing_day, {own_limits}, {permissions}, {access}
FROM {keys} {user} {tier}
WHERE k.deleted_at IS NULL
"""
# The few keys first, then their owners by id. Otherwise, PostgreSQL reads up to thousands of users to find one: OFFSET 0
# keeps it from rewriting the subquery, and CROSS JOIN keeps SQLite's order.
USER = {
    "postgresql": """JOIN LATERAL (
    SELECT id, username, is_active, deleted_at, tier_id, tier_until, billing_day
    FROM "user" WHERE id = k.user_id OFFSET 0
) u ON true""",
    "sqlite": 'CROSS JOIN "user" u ON u.id = k.user_id',
}
TIER_ID = """CASE
    WHEN u.tier_until <= :now THEN (SELECT d.id FROM tiers d WHERE d.name = :default_tier AND d.deleted_at IS NULL)
    ELSE u.tier_id END"""
TIER = {
    "postgresql": f"""LEFT JOIN LATERAL (
    SELECT id, name FROM tiers WHERE deleted_at IS NULL AND id = {TIER_ID} OFFSET 0
) t ON true""",  # noqa: S608  (ours)
    "sqlite": f"LEFT JOIN tiers t ON t.deleted_at IS NULL AND t.id = {TIER_ID}",
}
# Each as “action resource” or “action resource at host”.
TEXT = "action || ' ' || resource || CASE host WHEN '' THEN '' ELSE ' at ' || host END"
LIST = {
    "postgresql": "ARRAY(SELECT {text} FROM {table} WHERE {condition})",
    "sqlite": "(SELECT json_group_array({text}) FROM {table} WHERE {condition})",
}
OWN_LIMITS = {
    "postgresql": "array_to_string(ARRAY(SELECT json_build_array({values})::text {source}), ',')",
    "sqlite": "(SELECT group_concat(json_array({values})) {source})",
}
OWN_LIMITS_SOURCE = """FROM rate_limits r
    WHERE r.user_id = u.id AND r.deleted_at IS NULL AND (r.ends_at IS NULL OR r.ends_at > :now)"""
# Each hash by its index. For “= ANY”, PostgreSQL would read all of a thousand keys and compare each with each hash. For an OR,
# SQLite would read all keys if none had a previous secret when it made its statistics.
KEYS_BY_SECRET = {
    "postgresql": """unnest(:hashes::text[]) AS asked (hash) CROSS JOIN LATERAL (
    SELECT * FROM api_keys WHERE secret_hash = asked.hash
    UNION ALL SELECT * FROM api_keys WHERE previous_hash = asked.hash OFFSET 0
) k""",
    "sqlite": """(
    SELECT f.* FROM json_each(:hashes) h CROSS JOIN api_keys f ON f.secret_hash = h.value
    UNION ALL SELECT f.* FROM json_each(:hashes) h CROSS JOIN api_keys f ON f.previous_hash = h.value
) k""",
}


def find_keys(secrets: Collection[str]) -> dict[str, KeyRecord]:
    """The live keys that these secrets open, by their current or their previous secret, in one statement."""
    if not secrets:
        return {}
    # Hash: the secret, and whether it isn't our hash under the newest pepper.
    asked = {value: (secret, number > 0) for secret in secrets for number, value in enumerate(candidate_hashes(secret))}
    found = {}
    for row in read(sql_by_secret(vendor()), {"hashes": listed(asked)}):
        for is_previous in (True, False):
            if match := asked.get(row[is_previous]):
                secret, is_outdated = match
                found[secret] = as_record(row, is_previous=is_previous, is_outdated=is_outdated)
    return found


def find_tier(name: str) -> TierRecord | None:
    """The live tier with this name."""
    for tier_id, tier_name, access in read(sql_of_tier(vendor()), {"name": name}):
        return TierRecord(tier_id, tier_name, as_list(access))
    return None


def find_key_by_id(key_id: UUID) -> KeyRecord | None:
    """The live key with this id, for staff who don't have its secret."""
    rows = read(sql_by_id(vendor()), {"id": identifier(key_id)})
    return as_record(rows[0], is_previous=False, is_outdated=False) if rows else None


@lru_cache(maxsize=2)
def sql_by_secret(vendor: str) -> str:
    return select(vendor, KEYS_BY_SECRET[vendor])


@lru_cache(maxsize=2)
def sql_by_id(vendor: str) -> str:
    return select(vendor, "(SELECT * FROM api_keys WHERE id = :id) k")


@lru_cache(maxsize=2)
def sql_of_tier(vendor: str) -> str:
    access = LIST[vendor].format(text=TEXT, table="tier_access", condition="tier_id = t.id")
    return f"SELECT t.id, t.name, {access} FROM tiers t WHERE t.name = :name AND t.deleted_at IS NULL"  # noqa: S608  (ours)


def select(vendor: str, keys: str) -> str:
    """keys: a source of rows of api_keys, named k."""
    permissions = LIST[vendor].format(text=TEXT, table="key_permissions", condition="api_key_id = k.id")
    access = LIST[vendor].format(text=TEXT, table="tier_access", condition="tier_id = t.id")
    values = ", ".join(f'r."{column}"' for column in COLUMNS)
    own_limits = OWN_LIMITS[vendor].format(values=values, source=OWN_LIMITS_SOURCE)
    return SELECT.format(
        own_limits=own_limits,
        permissions=permissions,
        access=access,
        user=USER[vendor],
        tier=TIER[vendor],
        keys=keys,
    )


def read(sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a lookup. If the connection is dead, such as after a restart of PostgreSQL, run it again on a new one."""
    now = timezone.now()
    parameters = {
        **parameters,
        "now": database_time(now),
        "due": database_time(now - USE_INTERVAL),
        "default_tier": settings.DEFAULT_TIER_NAME,
    }
    try:
        return run(sql, parameters)
    except (DatabaseError, InterfaceError):
        if connection.in_atomic_block:
            raise
        connection.close()
        return run(sql, parameters)


def as_record(row: tuple[Any, ...], *, is_previous: bool, is_outdated: bool) -> KeyRecord:
    """A row as the record it is; SQLite has ids as hex and lists as JSON."""
    _, _, secret_use_is_due, previous_use_is_due, grace_is_over, use_is_due, key_id, *rest = row
    *columns, permissions, tier_access = rest
    allowed_ips = columns[ALLOWED_IPS]
    # PostgreSQL's jsonb comes as text too: Django has it so.
    columns[ALLOWED_IPS] = json.loads(allowed_ips) if allowed_ips != "[]" else ()
    return KeyRecord._make(
        (
            key_id if isinstance(key_id, UUID) else UUID(key_id),
            *columns,
            as_list(permissions),
            as_list(tier_access),
            bool(use_is_due or (previous_use_is_due if is_previous else secret_use_is_due)),
            is_previous,
            bool(is_previous and grace_is_over),
            is_outdated,
        )
    )


def as_list(value: list[str] | str) -> Sequence[str]:
    return parsed(value) if isinstance(value, str) else value


@lru_cache(maxsize=1024)
def parsed(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))
