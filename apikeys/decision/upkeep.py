"""What allowed requests change on their keys, rarely and in separate statements: the last use, and a newer hash."""

from __future__ import annotations

from django.utils import timezone

from apikeys.decision.lookup import USE_INTERVAL, KeyRecord
from apikeys.decision.statements import database_time, identifier, run
from apikeys.secrets import candidate_hashes, last4, newest_pepper_id
from config.base.http import plain_address

# Conditional, so that of many requests in the same minute one writes. `updated_at` stays: nobody changed the key.
NOTE_USE = """
UPDATE api_keys SET
    last_used_at = CASE WHEN COALESCE(last_used_at <= :due, true) THEN :now ELSE last_used_at END,
    last_used_ip = CASE WHEN COALESCE(last_used_at <= :due, true) THEN :address ELSE last_used_ip END,
    {column} = :now
WHERE id = :id AND (COALESCE(last_used_at <= :due, true) OR COALESCE({column} <= :due, true))
"""
NOTE_USE_OF_CURRENT = NOTE_USE.format(column="secret_last_used_at")
NOTE_USE_OF_PREVIOUS = NOTE_USE.format(column="previous_last_used_at")
# An imported key shows the end of its secret from its first use.
REHASH = """
UPDATE api_keys SET
    secret_hash = :new, pepper_id = :pepper, last4 = CASE WHEN last4 = '' THEN :last4 ELSE last4 END
WHERE id = :id AND secret_hash = :old
"""
REHASH_PREVIOUS = "UPDATE api_keys SET previous_hash = :new WHERE id = :id AND previous_hash = :old"


def note_use(key: KeyRecord, address: str) -> None:
    """Update the last use of the key and its secret, if either is a minute or more ago."""
    if not key.use_is_due:
        return
    now = timezone.now()
    parameters = {
        "id": identifier(key.id),
        "now": database_time(now),
        "due": database_time(now - USE_INTERVAL),
        "address": plain_address(address) or None,
    }
    run(NOTE_USE_OF_PREVIOUS if key.is_previous else NOTE_USE_OF_CURRENT, parameters)


def rehash(key: KeyRecord, secret: str) -> None:
    """Store our hash under the newest pepper, if the key was found under an older one or by a foreign hash."""
    if not key.is_outdated:
        return
    new, *older = candidate_hashes(secret)
    statement = REHASH_PREVIOUS if key.is_previous else REHASH
    parameters = {"id": identifier(key.id), "new": new, "pepper": newest_pepper_id(), "last4": last4(secret)}
    for old in older:
        run(statement, {**parameters, "old": old})
