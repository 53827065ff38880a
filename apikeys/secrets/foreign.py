"""Secrets that other key stores issued, for keys that were imported from them: what they look like, and their hashes.

Which ones are accepted was learned from what was imported (apikeys/decision/imported.py). Without imported keys, there are
none, and only our own secrets reach the database.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from django.contrib.auth.hashers import (
    Argon2PasswordHasher,
    BasePasswordHasher,
    PBKDF2PasswordHasher,
    PBKDF2SHA1PasswordHasher,
    ScryptPasswordHasher,
)

# In no secret: a secret can't pass for the hash of another one.
SEPARATOR = "\0"
# Hashes that are the same whenever a secret is hashed: its key is found by them.
DIGESTS: dict[str, Callable[[bytes], str]] = {
    "sha256": lambda secret: hashlib.sha256(secret).hexdigest(),
    "sha512": lambda secret: hashlib.sha512(secret).hexdigest(),
}
# Slow ones with a salt: their key is found by the start of the secret.
HASHERS: dict[str, type[BasePasswordHasher]] = {
    "pbkdf2_sha256": PBKDF2PasswordHasher,
    "pbkdf2_sha1": PBKDF2SHA1PasswordHasher,
    "argon2": Argon2PasswordHasher,
    "scrypt": ScryptPasswordHasher,
}
SCRYPT_PARTS = 6


class SecretFormat(NamedTuple):
    """algorithm: one of DIGESTS, or empty for slow hashes; the first group of `pattern` is then the start of a secret."""

    algorithm: str
    pattern: str


_accepted: tuple[tuple[str, re.Pattern[str]], ...] = ()
# The formats whose secrets can be told from any other text: they start with letters and an underscore.
_distinctive: tuple[re.Pattern[str], ...] = ()
DISTINCTIVE = re.compile(r"\(\w{2,}_\[")


def accept(formats: Iterable[SecretFormat]) -> None:
    """Accept secrets of these formats in this process, and no others but our own."""
    global _accepted, _distinctive  # noqa: PLW0603  (read for every malformed secret, and replaced as a whole)
    _accepted = tuple((known.algorithm, re.compile(known.pattern, re.ASCII)) for known in formats)
    _distinctive = tuple(pattern for _, pattern in _accepted if DISTINCTIVE.match(pattern.pattern))


def is_imported_form(secret: str) -> bool:
    return any(pattern.fullmatch(secret) for _, pattern in _accepted)


def has_distinctive_forms() -> bool:
    return bool(_distinctive)


def contains_imported_secret(text: str) -> bool:
    return any(pattern.search(text) for pattern in _distinctive)


def digests_of(secret: str) -> list[str]:
    """What the markers of keys with this secret were made from, if they were imported with a fast hash."""
    algorithms = {algorithm for algorithm, pattern in _accepted if algorithm and pattern.fullmatch(secret)}
    return [marked(algorithm, DIGESTS[algorithm](secret.encode())) for algorithm in sorted(algorithms)]


def starts_of(secret: str) -> list[str]:
    """The starts by which a key with this secret can be found, if it was imported with a slow hash."""
    found = (pattern.fullmatch(secret) for algorithm, pattern in _accepted if not algorithm)
    return sorted({match[1] for match in found if match})


def marked(algorithm: str, encoded: str) -> str:
    """A foreign hash as the text that our own hash is made of."""
    return SEPARATOR.join(("imported", algorithm, encoded))


def verifies(secret: str, encoded: str) -> bool:
    """Whether the slow hash `encoded` is that of `secret`. Takes a second at most: the import checks what it costs."""
    if is_starters(encoded):
        *parameters, salt, derived = encoded.split("$")
        made = scrypt(secret, base64.b64decode(salt), *map(int, parameters[1:]), length=len(base64.b64decode(derived)))
        return hmac.compare_digest(made, base64.b64decode(derived))
    return hasher_of(encoded.partition("$")[0]).verify(secret, encoded)


def is_starters(encoded: str) -> bool:
    """Whether it's `scrypt$N$r$p$salt$derived`, as the FastAPI starter has it; Django's has the salt after the N."""
    parts = encoded.split("$")
    return len(parts) == SCRYPT_PARTS and parts[0] == "scrypt" and parts[2].isdigit() and parts[3].isdigit()


def scrypt(secret: str, salt: bytes, n: int, r: int, p: int, *, length: int) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, n=n, r=r, p=p, dklen=length, maxmem=256 * n * r + 2**20)


@lru_cache(maxsize=8)
def hasher_of(algorithm: str) -> BasePasswordHasher:
    return HASHERS[algorithm]()
