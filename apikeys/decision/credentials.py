"""Find the one API key in a request, without a database: absent, malformed, or a secret that can be one of ours."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_plus

from apikeys.secrets import holds_whole_secret, is_well_formed

# Longer than any secret; the rest of a 9 kB credential is not worth a look.
LONGEST_CREDENTIAL = 200
BEARER = re.compile(r"bearer(?:[ \t]+(.*))?", re.IGNORECASE | re.DOTALL)
# Parameters that people send keys in. A key in a URL ends up in logs and in histories, so it is refused.
QUERY_NAMES = frozenset({"api_key", "apikey", "api-key", "x-api-key", "access_token"})


class Credential(NamedTuple):
    """What a request carried: `secret`, or `problem`, which is missing_key or malformed_key."""

    secret: str = ""
    problem: str = ""

    def __repr__(self) -> str:
        # The secret must not reach a log or an error page by way of a printed value.
        return f"Credential(problem={self.problem!r})"


MISSING = Credential(problem="missing_key")
MALFORMED = Credential(problem="malformed_key")


def read_credential(authorization: str, api_key: str | None, target: str = "") -> Credential:
    """The credential of a request.

    authorization: the Authorization header, empty without one; schemes other than Bearer are not ours and are passed
    over. api_key: the X-API-Key header, None without one. target: the raw path and query of the original request.
    """
    if target and holds_key(target):
        return MALFORMED
    bearer = BEARER.fullmatch(authorization) if authorization else None
    given = {text.strip(" \t") for text in (bearer and (bearer[1] or ""), api_key) if text is not None}
    if not given:
        return MISSING
    if len(given) > 1:
        return MALFORMED
    return checked(given.pop())


def checked(text: str) -> Credential:
    """`text` as a credential: malformed unless it has the form of a secret, checksum included."""
    if len(text) > LONGEST_CREDENTIAL or not is_well_formed(text):
        return MALFORMED
    return Credential(secret=text)


def holds_key(target: str) -> bool:
    """Whether a raw request target carries a key: a secret anywhere, or a parameter whose name people use for keys."""
    if holds_whole_secret(target):
        return True
    query = target.partition("?")[2]
    if not any(name in query.lower() for name in ("key", "token", "%")):
        return False
    pairs = (part.partition("=") for part in query.replace(";", "&").split("&"))
    return any(value and is_name_of_key(unquote_plus(name)) for name, _, value in pairs)


def is_name_of_key(name: str) -> bool:
    """Whether people call a key by this name, also within another as in `auth[api_key]`."""
    return name.strip().rpartition("[")[2].removesuffix("]").strip().lower() in QUERY_NAMES
