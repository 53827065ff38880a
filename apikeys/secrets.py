"""API key secrets: how they are made, checked for form, and hashed. The secret itself is never stored.

A secret is `<API_KEY_PREFIX>_`, 43 base62 characters (256 bits from the system's random source) and 6 base62 characters
of CRC32 over everything before them, so that a typing error or a scanner's false match is seen without a database.
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

from config.base.logs import without_secrets

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_LENGTH = 43
CHECKSUM_LENGTH = 6
SHOWN_LENGTH = 6
# So many characters after the prefix are more than anybody types to search by the start of a key.
LEAST_OF_A_SECRET = 16
# How many times over a secret is looked for under percent-encoding.
MOST_ENCODINGS = 5
BODY = re.compile(rf"[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}")


def base62(number: int, length: int) -> str:
    """`number` in base 62, most significant digit first, filled with zeros to `length` characters."""
    digits = []
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def checksum(text: str) -> str:
    return base62(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def new_secret() -> str:
    """A fresh secret with the configured prefix."""
    body = f"{settings.API_KEY_PREFIX}_{base62(secrets.randbits(256), RANDOM_LENGTH)}"
    return body + checksum(body)


def is_well_formed(text: str) -> bool:
    """Whether `text` can be a secret of ours: prefix, length, alphabet and checksum. Costs no database access."""
    prefix, separator, body = text.rpartition("_")
    if not separator or prefix != settings.API_KEY_PREFIX or not BODY.fullmatch(body):
        return False
    return checksum(text[:-CHECKSUM_LENGTH]) == text[-CHECKSUM_LENGTH:]


def holds_secret(text: str) -> bool:
    """Whether a secret of ours, or most of one, stands somewhere in `text`: such a text must not be kept or shown."""
    form = rf"{re.escape(settings.API_KEY_PREFIX)}_[0-9A-Za-z]{{{LEAST_OF_A_SECRET},}}"
    return re.search(form, fully_decoded(text)) is not None


def holds_whole_secret(target: str) -> bool:
    """Whether a well-formed secret of ours stands somewhere in a raw request target, however often percent-encoded."""
    prefix = f"{settings.API_KEY_PREFIX}_"
    if prefix not in target and "%" not in target:
        return False
    text = fully_decoded(target)
    length = len(prefix) + RANDOM_LENGTH + CHECKSUM_LENGTH
    return any(
        is_well_formed(text[found.start() : found.start() + length]) for found in re.finditer(re.escape(prefix), text)
    )


def fully_decoded(text: str) -> str:
    """`text` without percent-encoding, for a look at it: whoever reads it later may decode it as often."""
    for _ in range(MOST_ENCODINGS):
        decoded = unquote(text)
        if decoded == text:
            break
        text = decoded
    return text


def masked(text: str) -> str:
    """`text` as it may be kept and shown: of each secret in it, its prefix and first characters."""
    return without_secrets(text) if "_" in text or "%" in text else text


def display_prefix(secret: str) -> str:
    """The start of a secret by which people tell keys apart: the prefix and the first 6 characters."""
    return secret[: len(settings.API_KEY_PREFIX) + 1 + SHOWN_LENGTH]


def last4(secret: str) -> str:
    return secret[-4:]


@lru_cache(maxsize=16)
def pepper_id(pepper: str) -> str:
    """A short name for a pepper, stored beside each hash: tells which pepper made it, and nothing about its value."""
    return hashlib.sha256(b"gatehouse pepper " + pepper.encode()).hexdigest()[:8]


def hash_secret(secret: str, pepper: str | None = None) -> str:
    """HMAC-SHA-256 of `secret` under `pepper` (default: the newest), in hex.

    A fast hash is enough: the secret has 256 bits of entropy (OWASP ASVS 5.0, 6.5.2), and a slow one would let every
    wrong key burn a CPU.
    """
    key = settings.API_KEY_PEPPERS[0] if pepper is None else pepper
    return hmac.digest(key.encode(), secret.encode(), "sha256").hex()


def candidate_hashes(secret: str) -> dict[str, str]:
    """The hashes `secret` may be stored under, newest pepper first: {hash: pepper_id}."""
    return {hash_secret(secret, pepper): pepper_id(pepper) for pepper in settings.API_KEY_PEPPERS}


def newest_pepper_id() -> str:
    """The pepper that `hash_secret` uses by default."""
    return pepper_id(settings.API_KEY_PEPPERS[0])
