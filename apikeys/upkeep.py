"""What an accepted request leaves on its key, off the critical statement and seldom: when it was used, and a newer hash."""

from __future__ import annotations

from django.utils import timezone

from apikeys.lookup import USE_INTERVAL, KeyRecord
from apikeys.secrets import candidate_hashes, newest_pepper_id
from apikeys.statements import identifier, moment, run

# Conditional, so that of many requests in the same minute one writes. `updated_at` stays: nobody changed the key.
NOTE_USE = """
UPDATE api_keys SET last_used_at = :now, last_used_ip = :address
WHERE id = :id AND (last_used_at IS NULL OR last_used_at <= :due)
"""
NOTE_USE_OF_PREVIOUS = """
UPDATE api_keys SET previous_last_used_at = :now
WHERE id = :id AND (previous_last_used_at IS NULL OR previous_last_used_at <= :due)
"""
REHASH = "UPDATE api_keys SET secret_hash = :new, pepper_id = :pepper WHERE id = :id AND secret_hash = :old"
REHASH_PREVIOUS = "UPDATE api_keys SET previous_hash = :new WHERE id = :id AND previous_hash = :old"


def note_use(key: KeyRecord, address: str | None) -> None:
    """Move the key's last use forward, if it lies a minute or more back."""
    if not key.use_is_due:
        return
    now = timezone.now()
    parameters = {
        "id": identifier(key.id),
        "now": moment(now),
        "due": moment(now - USE_INTERVAL),
        "address": address,
    }
    run(NOTE_USE, parameters)
    if key.is_previous:
        run(NOTE_USE_OF_PREVIOUS, parameters)


def rehash(key: KeyRecord, secret: str) -> None:
    """Store the key's hash under the newest pepper, if it was found under an older one."""
    if not key.is_outdated:
        return
    new, *older = candidate_hashes(secret)
    statement = REHASH_PREVIOUS if key.is_previous else REHASH
    parameters = {"id": identifier(key.id), "new": new, "pepper": newest_pepper_id()}
    for old in older:
        run(statement, {**parameters, "old": old})
