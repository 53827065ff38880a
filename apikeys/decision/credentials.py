"""Find the API key in a request, without asking the database."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_plus

from apikeys.secrets import contains_whole_secret, is_well_formed

# Longer than any secret.
MAX_LENGTH = 200
BEARER = re.compile(r"bearer(?:[ \t]+(.*))?", re.IGNORECASE | re.DOTALL)
# Query parameters that people send keys in. A key in a URL ends up in logs and browser histories, so it is denied.
KEY_PARAMETERS = frozenset({"api_key", "apikey", "api-key", "x-api-key", "access_token"})


class Credential(NamedTuple):
    """A request's `secret`, or its `problem`: missing_key or malformed_key."""

    secret: str = ""
    problem: str = ""

    def __repr__(self) -> str:
        # Keeps the secret out of logs and error pages.
        return f"Credential(problem={self.problem!r})"


MISSING = Credential(problem="missing_key")
MALFORMED = Credential(problem="malformed_key")


def read_credential(authorization: str, api_key: str | None, target: str = "") -> Credential:
    """authorization: the Authorization header, or an empty string; schemes other than Bearer are ignored. api_key: the
    X-API-Key header, or None. target: the raw path and query of the original request.
    """
    if target and contains_key(target):
        return MALFORMED
    bearer = BEARER.fullmatch(authorization) if authorization else None
    given = {text.strip(" \t") for text in (bearer and (bearer[1] or ""), api_key) if text is not None}
    if not given:
        return MISSING
    if len(given) > 1:
        return MALFORMED
    return credential_from(given.pop())


def credential_from(text: str) -> Credential:
    if len(text) > MAX_LENGTH or not is_well_formed(text):
        return MALFORMED
    return Credential(secret=text)


def contains_key(target: str) -> bool:
    if contains_whole_secret(target):
        return True
    query = target.partition("?")[2]
    if not any(name in query.lower() for name in ("key", "token", "%")):
        return False
    pairs = (part.partition("=") for part in query.replace(";", "&").split("&"))
    return any(value and is_key_parameter(unquote_plus(name)) for name, _, value in pairs)


def is_key_parameter(name: str) -> bool:
    """Includes nested names such as `auth[api_key]`."""
    return name.strip().rpartition("[")[2].removesuffix("]").strip().lower() in KEY_PARAMETERS
