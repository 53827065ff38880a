"""Read all that a decision needs to know of a key in one statement: the key, its permissions, its owner and his tier.

Written as SQL, and run past Django's cursor, because every request to the API waits for it: the ORM takes ten times as
long to build the statement as the database takes to answer it. Nothing read here is kept for another request.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connection
from django.utils import timezone

from apikeys.decision.statements import identifier, moment, run, vendor
from apikeys.secrets import candidate_hashes

# `last_used_at` moves forward at most this often for each key: true to the minute, and no hot row.
USE_INTERVAL = timedelta(minutes=1)


class KeyRecord(NamedTuple):
    """A key as found by its secret, with its owner and tier. Times are judged already, against one moment."""

    id: UUID
    name: str
    prefix: str
    last4: str
    is_active: bool
    is_revoked: bool
    is_expired: bool
    rate_limit: int | None
    rate_period: int | None
    allowed_ips: Sequence[str]
    # The last use of the key, or that of the secret it was found by, lies a minute or more back.
    use_is_due: bool
    # The secret is the one before the last rotation, and whether its grace is over.
    is_previous: bool
    grace_is_over: bool
    # The hash that matched was made under a pepper that is no longer the newest.
    is_outdated: bool
    user_id: int
    username: str
    owner_is_active: bool
    owner_is_live: bool
    tier_id: int | None
    tier_name: str | None
    # Each as “action resource”.
    permissions: Sequence[str]


ALLOWED_IPS = KeyRecord._fields.index("allowed_ips")

# previous_hash is consulted in the same statement: a rotated secret works for its grace, and costs no second probe.
SELECT = """
SELECT k.id, k.name, k.prefix, k.last4, k.is_active,
       k.revoked_at IS NOT NULL,
       k.expires_at IS NOT NULL AND k.expires_at <= :now,
       k.rate_limit, k.rate_period, k.allowed_ips,
       k.last_used_at IS NULL OR k.last_used_at <= :due
         OR COALESCE(CASE WHEN {is_previous} THEN k.previous_last_used_at ELSE k.secret_last_used_at END <= :due, true),
       {is_previous},
       {is_previous} AND (k.previous_expires_at IS NULL OR k.previous_expires_at <= :now),
       {is_outdated},
       u.id, u.username, u.is_active, u.deleted_at IS NULL,
       t.id, t.name, {permissions}
FROM api_keys k
JOIN "user" u ON u.id = k.user_id
LEFT JOIN tiers t ON t.id = u.tier_id AND t.deleted_at IS NULL
WHERE k.deleted_at IS NULL AND ({condition})
"""
PERMISSIONS = {
    "postgresql": "ARRAY(SELECT p.action || ' ' || p.resource FROM key_permissions p WHERE p.api_key_id = k.id)",
    "sqlite": "(SELECT json_group_array(p.action || ' ' || p.resource) FROM key_permissions p WHERE p.api_key_id = k.id)",
}


def find_key(secret: str) -> KeyRecord | None:
    """The live key that `secret` opens, by its current or its previous secret, in one statement; None without one."""
    hashes = list(candidate_hashes(secret))
    parameters = {f"hash{number}": value for number, value in enumerate(hashes)}
    return first_record(sql_by_secret(len(hashes), vendor()), parameters)


def find_key_by_id(key_id: UUID) -> KeyRecord | None:
    """As `find_key`, by the key's id: for staff who ask what a key may do without having its secret."""
    return first_record(sql_by_id(vendor()), {"id": identifier(key_id)})


@lru_cache(maxsize=8)
def sql_by_secret(peppers: int, vendor: str) -> str:
    """The look-up for a secret hashed under so many peppers: parameters hash0 (under the newest), hash1, …"""
    names = [f":hash{number}" for number in range(peppers)]
    any_of, older = ", ".join(names), ", ".join(names[1:])
    outdated = f"(k.secret_hash IN ({older}) OR COALESCE(k.previous_hash IN ({older}), false))" if older else "false"
    return SELECT.format(
        is_previous=f"k.secret_hash NOT IN ({any_of})",
        is_outdated=outdated,
        permissions=PERMISSIONS[vendor],
        condition=f"k.secret_hash IN ({any_of}) OR k.previous_hash IN ({any_of})",
    )


@lru_cache(maxsize=2)
def sql_by_id(vendor: str) -> str:
    return SELECT.format(
        is_previous="false", is_outdated="false", permissions=PERMISSIONS[vendor], condition="k.id = :id"
    )


def first_record(sql: str, parameters: Mapping[str, Any]) -> KeyRecord | None:
    now = timezone.now()
    times = {"now": moment(now), "due": moment(now - USE_INTERVAL)}
    rows = read({**parameters, **times}, sql)
    return as_record(rows[0]) if rows else None


def read(parameters: Mapping[str, Any], sql: str) -> list[tuple[Any, ...]]:
    """Run a look-up; if the connection proves dead, as after a restart of PostgreSQL, once more on a new one."""
    try:
        return run(sql, parameters)
    except (DatabaseError, InterfaceError):
        if connection.in_atomic_block:
            raise
        connection.close()
        return run(sql, parameters)


def as_record(row: tuple[Any, ...]) -> KeyRecord:
    """A row as the record it is; SQLite has ids as hex and lists as JSON."""
    record = list(row)
    if not isinstance(row[0], UUID):
        record[0] = UUID(row[0])
        record[-1] = json.loads(row[-1])
    # PostgreSQL's jsonb comes as text too: Django has it so.
    record[ALLOWED_IPS] = json.loads(row[ALLOWED_IPS]) if row[ALLOWED_IPS] != "[]" else ()
    return KeyRecord._make(record)
