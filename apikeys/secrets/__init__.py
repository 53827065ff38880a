"""Generate, recognize and hash API key secrets. Only hashes are stored.

A secret is `<API_KEY_PREFIX>_`, 43 base62 characters (256 random bits) and 6 base62 characters with the CRC32 of
everything before them, so that typing errors and false matches of secret scanners show without asking the database.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from functools import lru_cache
from urllib.parse import unquote

from django.conf import settings

from apikeys.secrets.foreign import (
    contains_imported_secret,
    digests_of,
    has_distinctive_forms,
    is_imported_form,
)
from config.base.logs import without_secrets

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_LENGTH = 43
CHECKSUM_LENGTH = 6
SHOWN_LENGTH = 6
# More than anyone types to search by the start of a key.
MIN_PARTIAL_LENGTH = 16
MAX_DECODINGS = 5
BODY = re.compile(rf"[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}")


def base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def checksum(text: str) -> str:
    return base62(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def new_secret() -> str:
    body = f"{settings.API_KEY_PREFIX}_{base62(secrets.randbits(256), RANDOM_LENGTH)}"
    return body + checksum(body)


def is_well_formed(text: str) -> bool:
    """Whether it can be a secret: one of ours, or one that came with an imported key."""
    return is_our_form(text) or is_imported_form(text)


def is_our_form(text: str) -> bool:
    prefix, separator, body = text.rpartition("_")
    if not separator or prefix != settings.API_KEY_PREFIX or not BODY.fullmatch(body):
        return False
    return checksum(text[:-CHECKSUM_LENGTH]) == text[-CHECKSUM_LENGTH:]


def contains_secret(text: str) -> bool:
    """Whether a secret, or a large part of one, is anywhere in `text`."""
    pattern = rf"{re.escape(settings.API_KEY_PREFIX)}_[0-9A-Za-z]{{{MIN_PARTIAL_LENGTH},}}"
    decoded = fully_decoded(text)
    return re.search(pattern, decoded) is not None or contains_imported_secret(decoded)


def contains_whole_secret(target: str) -> bool:
    prefix = f"{settings.API_KEY_PREFIX}_"
    if prefix not in target and "%" not in target and not has_distinctive_forms():
        return False
    text = fully_decoded(target)
    if contains_imported_secret(text):
        return True
    length = len(prefix) + RANDOM_LENGTH + CHECKSUM_LENGTH
    return any(
        is_our_form(text[found.start() : found.start() + length]) for found in re.finditer(re.escape(prefix), text)
    )


def fully_decoded(text: str) -> str:
    for _ in range(MAX_DECODINGS):
        text = unquote(text)
    return text


def masked(text: str) -> str:
    """`text` with each secret, or large part of one of ours, shortened to its first characters."""
    if "_" not in text and "%" not in text:
        return text
    return large_part(settings.API_KEY_PREFIX).sub(r"\1…", without_secrets(text))


@lru_cache(maxsize=4)
def large_part(prefix: str) -> re.Pattern[str]:
    """Such as a secret without its last characters, which anyone could complete: they're a checksum."""
    letter = "[0-9A-Za-z]"
    return re.compile(
        rf"({re.escape(prefix)}(?:_|%5[Ff]){letter}{{{SHOWN_LENGTH}}}){letter}{{{MIN_PARTIAL_LENGTH - SHOWN_LENGTH},}}"
    )


def display_prefix(secret: str) -> str:
    return secret[: len(settings.API_KEY_PREFIX) + 1 + SHOWN_LENGTH]


def last4(secret: str) -> str:
    return secret[-4:]


@lru_cache(maxsize=16)
def pepper_id(pepper: str) -> str:
    """Identifies the pepper of a stored hash without revealing it."""
    return hashlib.sha256(b"gatehouse pepper " + pepper.encode()).hexdigest()[:8]


def hash_secret(secret: str, pepper: str | None = None) -> str:
    """HMAC-SHA-256 with `pepper` (by default the newest), in hex.

    A fast hash is enough for 256 bits of entropy (OWASP ASVS 5.0, 6.5.2). With a slow one, wrong keys could use up the CPU.
    """
    digest = keyed(settings.API_KEY_PEPPERS[0] if pepper is None else pepper).copy()
    digest.update(secret.encode())
    return digest.hexdigest()


@lru_cache(maxsize=16)
def keyed(pepper: str) -> hmac.HMAC:
    """An HMAC to copy, which takes half the time of creating one."""
    return hmac.new(pepper.encode(), digestmod="sha256")


def candidate_hashes(secret: str) -> dict[str, str]:
    """{hash: pepper_id} for each pepper, newest first; then those under which its key may have been imported."""
    texts = [secret, *digests_of(secret)]
    return {hash_secret(text, pepper): pepper_id(pepper) for text in texts for pepper in settings.API_KEY_PEPPERS}


def newest_pepper_id() -> str:
    return pepper_id(settings.API_KEY_PEPPERS[0])
