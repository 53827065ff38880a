"""Read the hashes of other key stores: which algorithm, what it costs to check, what the secrets look like."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection
from typing import NamedTuple

from django.core.exceptions import ValidationError

from apikeys.secrets.foreign import DIGESTS, HASHERS, SecretFormat, hasher_of, is_starters, marked

MAX_PREFIX_LENGTH = 40
MAX_HASH_LENGTH = 255
# The most expensive hash that is accepted takes a second or less to check, and 256 MiB.
MAX_ITERATIONS = 3_000_000
MAX_MEMORY = 256 * 2**20
MAX_PASSES = 16
# With more distinct starts than this, secrets with any start are looked up.
MOST_STARTS = 100

# What a secret may consist of: printable ASCII, without the comma, which joins repeated headers.
CHARACTER = r"[!-+\--~]"
PREFIX = re.compile(rf"{CHARACTER}*")
LETTERS = "[0-9A-Za-z_-]"
LETTERS_ONLY = re.compile(f"{LETTERS}+")
DIGITS = {"sha256": 64, "sha512": 128}
STARTERS_START = "fai_"
STARTERS_RANDOM_LENGTH = 8
SUPPORTED = "sha256, sha512, scrypt, pbkdf2_sha256, pbkdf2_sha1 or argon2"


class StoredHash(NamedTuple):
    """A foreign hash.

    prefix: the shown start of the secret. format: None if only the prefixes of all keys tell what their secrets look like.
    start, encoded: of a slow hash, as in ImportedKey.
    """

    algorithm: str
    marked: str
    prefix: str
    format: SecretFormat | None = None
    start: str | None = None
    encoded: str = ""


def read_hash(algorithm: str, encoded: str, prefix: str) -> StoredHash:
    """Raises ValidationError with a dict by column."""
    name = algorithm.strip().lower().replace("sha-", "sha")
    if len(prefix) > MAX_PREFIX_LENGTH or not PREFIX.fullmatch(prefix):
        raise wrong("prefix", f"Use at most {MAX_PREFIX_LENGTH} letters, digits and signs, without spaces or commas.")
    if len(encoded) > MAX_HASH_LENGTH:
        raise wrong("hash", f"This hash is too long: a hash has at most {MAX_HASH_LENGTH} characters.")
    if name in DIGESTS:
        return read_digest(name, encoded, prefix)
    if name == "scrypt" and is_starters(encoded):
        return read_starters(encoded, prefix)
    if name in HASHERS:
        return read_django_hash(name, encoded, prefix)
    raise wrong("algorithm", f"“{algorithm[:40]}” isn't supported. Use {SUPPORTED}.")


def wrong(column: str, message: str) -> ValidationError:
    return ValidationError({column: message})


def read_digest(algorithm: str, encoded: str, prefix: str) -> StoredHash:
    """Plain hex, or `sha512$$` and hex as djangorestframework-api-key has it."""
    start, separator, digest = encoded.rpartition("$$")
    if start != (algorithm if separator else "") or not re.fullmatch(rf"[0-9A-Fa-f]{{{DIGITS[algorithm]}}}", digest):
        raise wrong("hash", f"A {algorithm} hash has {DIGITS[algorithm]} hexadecimal digits. This one doesn't.")
    secret_format = SecretFormat(algorithm, dotted(prefix)) if separator else None
    return StoredHash(algorithm, marked(algorithm, digest.lower()), prefix, secret_format)


def dotted(prefix: str) -> str:
    """The secrets of djangorestframework-api-key: a prefix, a period and the rest."""
    if prefix and not LETTERS_ONLY.fullmatch(prefix):
        raise wrong("prefix", "The prefix is the part of the key before the period. Use letters and digits only.")
    length = f"{{{len(prefix)}}}" if prefix else "+"
    return rf"({LETTERS}{length})\.{LETTERS}+"


def read_django_hash(algorithm: str, encoded: str, prefix: str) -> StoredHash:
    if not prefix:
        raise wrong(
            "prefix", f"A key with a {algorithm} hash is found by its prefix. Enter the part before the period."
        )
    pattern = dotted(prefix)
    try:
        parts = hasher_of(algorithm).decode(encoded)
        if algorithm != "argon2":
            base64.b64decode(parts["hash"], validate=True)
        is_cheap = is_cheap_hash(algorithm, parts)
    except (ValueError, AssertionError, KeyError, TypeError):
        raise wrong("hash", f"This isn't a hash as Django's make_password writes it for {algorithm}.") from None
    if not is_cheap:
        raise wrong("hash", "This hash takes too long to check. Create a new key instead.")
    return StoredHash(algorithm, marked(algorithm, encoded), prefix, SecretFormat("", pattern), prefix, encoded)


def is_cheap_hash(algorithm: str, parts: dict[str, object]) -> bool:
    """Whether it can be checked in time."""
    number = {name: int(str(value)) for name, value in parts.items() if str(value).isdigit()}
    if algorithm == "argon2":
        memory = number["memory_cost"] * 1024
        return memory <= MAX_MEMORY and number["time_cost"] <= MAX_PASSES and number["parallelism"] <= MAX_PASSES
    if algorithm == "scrypt":
        return is_cheap_scrypt(number["work_factor"], number["block_size"], number["parallelism"])
    return 0 < number["iterations"] <= MAX_ITERATIONS


def is_cheap_scrypt(n: int, r: int, p: int) -> bool:
    """Raises ValueError if there is no such scrypt."""
    if n < 2 or n & (n - 1) or r < 1 or p < 1:  # noqa: PLR2004
        raise ValueError("no such scrypt")
    return 128 * n * r <= MAX_MEMORY // 4 and p <= MAX_PASSES


def read_starters(encoded: str, prefix: str) -> StoredHash:
    """The FastAPI starter: `fai_`, 8 random characters (its key_prefix), an underscore and the rest."""
    start = prefix if len(prefix) > STARTERS_RANDOM_LENGTH else STARTERS_START + prefix
    if len(prefix) < STARTERS_RANDOM_LENGTH or not LETTERS_ONLY.fullmatch(prefix):
        raise wrong("prefix", "Enter the key's key_prefix: 8 letters, digits, hyphens and underscores.")
    _, n, r, p, salt, derived = encoded.split("$")
    try:
        is_cheap = is_cheap_scrypt(int(n), int(r), int(p))
        is_valid = len(base64.b64decode(salt, validate=True)) > 0 and len(base64.b64decode(derived, validate=True)) > 0
    except ValueError:
        is_cheap = is_valid = False
    if not is_valid:
        raise wrong("hash", "This isn't a scrypt hash: scrypt$N$r$p$salt$derived.")
    if not is_cheap:
        raise wrong("hash", "This hash takes too long to check. Create a new key instead.")
    common, random = start[:-STARTERS_RANDOM_LENGTH], f"{LETTERS}{{{STARTERS_RANDOM_LENGTH}}}"
    pattern = rf"({re.escape(common)}{random})_{LETTERS}+"
    return StoredHash("scrypt", marked("scrypt", encoded), start, SecretFormat("", pattern), start, encoded)


def formats_of(hashes: Collection[StoredHash]) -> set[SecretFormat]:
    """What the secrets of these keys look like."""
    formats = {stored.format for stored in hashes if stored.format}
    for algorithm in DIGESTS:
        plain = {stored.prefix for stored in hashes if stored.format is None and stored.algorithm == algorithm}
        formats |= {SecretFormat(algorithm, rf"{re.escape(start)}{CHARACTER}+") for start in common_starts(plain)}
    return formats


def common_starts(prefixes: Collection[str]) -> set[str]:
    """What the secrets start with: each prefix up to its last separator, which is the same for many keys."""
    starts = {re.sub(r"(?<=[_.-])[^_.-]*$", "", prefix) for prefix in prefixes}
    return starts if len(starts) <= MOST_STARTS else {""}
