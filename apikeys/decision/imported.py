"""Imported keys: which formats of secrets to accept, and the first use of a key whose hash is slow to check.

A slow hash (scrypt, PBKDF2, Argon2) is checked once: then the key has a hash of ours. Only one is checked at a time in each
process, few wait for their turn, and none keeps other decisions waiting: wrong keys can't use up processors or memory.
"""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from threading import Event, Lock, Thread

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Value, When

from apikeys.decision.lookup import KeyRecord, find_keys
from apikeys.models import APIKey, ImportedKey, KeyFormat
from apikeys.secrets import hash_secret, last4, newest_pepper_id
from apikeys.secrets.foreign import SecretFormat, accept, starts_of, verifies
from config.base.database import release_connection

logger = logging.getLogger(__name__)

# Seconds. What was imported must be accepted everywhere within 5.
LEARN_EVERY = 2.0
# Seconds that a thread waits to check a slow hash, or a starting server waits for the formats.
LONGEST_WAIT = 2.0
WRONG_SECRETS_KEPT = 1_000

_turn = Lock()
_wrong: OrderedDict[bytes, None] = OrderedDict()


class SlowHashesBusyError(Exception):
    """Too many slow hashes are waiting to be checked."""


# --- Formats -----------------------------------------------------------------------------------------------------------


def learn_formats() -> None:
    accept([SecretFormat(*row) for row in KeyFormat.objects.order_by("pk").values_list("algorithm", "pattern")])


def keep_learning_formats() -> None:
    """Learn the formats repeatedly in a thread, so that no request has to look them up. Waits for the first time."""
    learned = Event()
    Thread(target=learn_until, args=(Event(), learned), name="imported-key-formats", daemon=True).start()
    learned.wait(LONGEST_WAIT)


def learn_until(stopped: Event, learned: Event) -> None:
    was_possible = learn_or_log()
    learned.set()
    while not stopped.wait(LEARN_EVERY):
        was_possible = learn_or_log(quiet=not was_possible)


def learn_or_log(*, quiet: bool = False) -> bool:
    """Whether the formats could be read. Otherwise, what is known stays, and the next turn tries again."""
    try:
        learn_formats()
    except Exception as error:  # noqa: BLE001  (whatever the outage is, the thread goes on)
        if not quiet:
            logger.warning("The formats of imported keys could not be read: %s", error)
        return False
    finally:
        release_connection()
    return True


# --- Slow hashes -------------------------------------------------------------------------------------------------------


def find_key(secret: str) -> KeyRecord | None:
    """The live key that the secret opens, even if it was imported and nobody has used it yet."""
    record = find_keys([secret]).get(secret)
    if record is None and take_over(secret):
        record = find_keys([secret]).get(secret)
    return record


def take_over(secret: str) -> bool:
    """Give the imported key with this secret a hash of ours, unless it has one. Returns whether there may be such a key.

    Raises SlowHashesBusyError if the wait is too long, and django.db.Error.
    """
    starts = starts_of(secret)
    if not starts:
        return False
    imported = ImportedKey.objects.filter(start__in=starts).first()
    if imported is None:
        return False
    # If it's gone, another request has just done the same.
    return not imported.encoded or (is_secret_of(imported, secret) and rehash_imported(imported, secret))


def is_secret_of(imported: ImportedKey, secret: str) -> bool:
    tried = hashlib.sha256(f"{imported.encoded}\0{secret}".encode()).digest()
    if tried in _wrong:
        return False
    if not _turn.acquire(timeout=LONGEST_WAIT):
        raise SlowHashesBusyError
    try:
        is_right = verifies(secret, imported.encoded)
    finally:
        _turn.release()
    if not is_right:
        _wrong[tried] = None
        if len(_wrong) > WRONG_SECRETS_KEPT:
            _wrong.popitem(last=False)
    return is_right


def rehash_imported(imported: ImportedKey, secret: str) -> bool:
    """`updated_at` stays: nobody changed the key. False if the secret belongs to another key, too."""
    own = hash_secret(secret)
    keys = APIKey.objects.filter(pk=imported.api_key_id)
    seen = Case(When(last4="", then=Value(last4(secret))), default=F("last4"))
    try:
        with transaction.atomic():
            keys.filter(secret_hash=imported.marker).update(
                secret_hash=own, pepper_id=newest_pepper_id(), last4=seen, updated_at=F("updated_at")
            )
            keys.filter(previous_hash=imported.marker).update(previous_hash=own, updated_at=F("updated_at"))
            ImportedKey.objects.filter(pk=imported.pk).update(encoded="")
    except IntegrityError:
        return False
    return True


def take_over_and_release(secret: str) -> bool:
    """Run `take_over` in a thread, and release its connection."""
    try:
        return take_over(secret)
    finally:
        release_connection()
