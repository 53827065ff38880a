"""What allowed requests change on their keys, rarely and in separate statements: the last use, and a newer hash."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from apikeys.decision.lookup import USE_INTERVAL, KeyRecord
from apikeys.decision.statements import database_time, identifier, listed_rows, run, vendor
from apikeys.secrets import candidate_hashes, last4, newest_pepper_id
from config.base.http import plain_address

# Conditional, so that of many requests in the same minute one writes. `updated_at` stays: nobody changed the key.
NOTE_USES = {
    # Skips keys that are locked, such as by a bulk edit, because decisions would wait for it: their next use is written instead.
    # Doesn't wait for the disk: the usage rows are durable already.
    "postgresql": """
UPDATE api_keys SET
    last_used_at = CASE WHEN COALESCE(last_used_at <= :due, true) THEN :now ELSE last_used_at END,
    last_used_ip = CASE WHEN COALESCE(last_used_at <= :due, true) THEN used.address ELSE last_used_ip END,
    {column} = :now
FROM unnest(:ids::uuid[], :addresses::inet[]) AS used (key, address) CROSS JOIN LATERAL (
    SELECT ctid AS place FROM api_keys
    WHERE id = used.key AND (COALESCE(last_used_at <= :due, true) OR COALESCE({column} <= :due, true))
    FOR UPDATE SKIP LOCKED
) AS locked, set_config('synchronous_commit', 'off', true)
WHERE ctid = locked.place
""",
    "sqlite": """
UPDATE api_keys SET
    last_used_at = CASE WHEN COALESCE(last_used_at <= :due, true) THEN :now ELSE last_used_at END,
    last_used_ip = CASE WHEN COALESCE(last_used_at <= :due, true) THEN json_extract(used.value, '$[1]') ELSE last_used_ip END,
    {column} = :now
FROM json_each(:rows) AS used WHERE api_keys.id = json_extract(used.value, '$[0]')
    AND (COALESCE(last_used_at <= :due, true) OR COALESCE({column} <= :due, true))
""",
}
# An imported key shows the end of its secret from its first use.
REHASH = """
UPDATE api_keys SET
    secret_hash = :new, pepper_id = :pepper, last4 = CASE WHEN last4 = '' THEN :last4 ELSE last4 END
WHERE id = :id AND secret_hash = :old
"""
REHASH_PREVIOUS = "UPDATE api_keys SET previous_hash = :new WHERE id = :id AND previous_hash = :old"


def note_uses(uses: Iterable[tuple[KeyRecord, str]]) -> None:
    """Update the last use of keys and their secrets where it is a minute or more ago. uses: each key, and the client's address."""
    due: dict[str, dict[str, str | None]] = {"secret_last_used_at": {}, "previous_last_used_at": {}}
    for key, address in uses:
        if key.use_is_due:
            column = "previous_last_used_at" if key.is_previous else "secret_last_used_at"
            due[column][identifier(key.id)] = plain_address(address) or None
    now = timezone.now()
    times = {"now": database_time(now), "due": database_time(now - USE_INTERVAL)}
    for column, addresses in due.items():
        if addresses:
            rows = listed_rows(("ids", "addresses"), list(addresses.items()))
            run(NOTE_USES[vendor()].format(column=column), {**rows, **times})


def rehash(key: KeyRecord, secret: str) -> None:
    """Store our hash under the newest pepper, if the key was found under an older one or by a foreign hash."""
    if not key.is_outdated:
        return
    new, *older = candidate_hashes(secret)
    statement = REHASH_PREVIOUS if key.is_previous else REHASH
    parameters = {"id": identifier(key.id), "new": new, "pepper": newest_pepper_id(), "last4": last4(secret)}
    for old in older:
        run(statement, {**parameters, "old": old})
