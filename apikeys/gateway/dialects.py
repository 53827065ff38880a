"""The gateways' question: one URL for each way a gateway describes the original request, one answer.

The dialect is the URL and nothing else: headers that a client can forge never choose how a request is read, and options
never come from the query. The request's body is never read. docs/gateways/ has a configuration for each gateway.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.http import HttpResponse

from apikeys.addresses import last_address
from apikeys.decision.credentials import MISSING, Credential, read_credential
from apikeys.decision.decide import Facts, decide
from apikeys.gateway.answers import LET_THROUGH, Approval, approval, denial
from config.base.http import plain_address, problem
from ratelimits.matching import METHOD, target_from_header

logger = logging.getLogger(__name__)

# A WSGI environment, or what Django calls META.
Environ = Mapping[str, Any]
Answer = HttpResponse | Approval

ENVOY_PREFIX = "/authz/envoy"
METHOD_TOKEN = re.compile(METHOD)


class Original(NamedTuple):
    """The original request, as its gateway describes it; empty where the gateway says nothing."""

    method: str
    uri: str
    address: str


def nginx(environ: Environ) -> Answer:
    """auth_request: nginx turns everything but 2xx, 401 and 403 into 500, so a 429 travels as 403 with X-Auth-Status."""
    given = answer(environ, described_to_nginx(environ))
    if isinstance(given, HttpResponse) and given.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        given.status_code = HTTPStatus.FORBIDDEN
    return given


def forward_auth(environ: Environ) -> Answer:
    """Traefik's ForwardAuth and Caddy's forward_auth, which describe the request alike."""
    return answer(environ, described_by_forwarded(environ))


def envoy(environ: Environ) -> Answer:
    """ext_authz over HTTP: the request is the client's own, under our prefix."""
    return answer(environ, described_by_itself(environ))


def answer(environ: Environ, original: Original) -> Answer:
    if not METHOD_TOKEN.fullmatch(original.method) or not original.uri:
        return refuse_description(environ)
    credential = credential_of(environ, original.uri)
    if is_preflight(environ, original.method, credential):
        return LET_THROUGH
    verdict = decide(
        Facts(
            credential,
            method=original.method,
            path=original.uri,
            address=original.address,
            user_agent=environ.get("HTTP_USER_AGENT", ""),
        )
    )
    return approval(verdict) if verdict.allowed else denial(verdict)


def refuse_description(environ: Environ) -> HttpResponse:
    # A guessed method or path could open the wrong door.
    logger.warning(
        "The gateway did not say which request it asks about: %s lacks a valid method or a URI",
        environ["PATH_INFO"],
    )
    return problem(403, "Forbidden", "The gateway did not describe the request.")


def credential_of(environ: Environ, uri: str) -> Credential:
    return read_credential(environ.get("HTTP_AUTHORIZATION", ""), environ.get("HTTP_X_API_KEY"), uri)


def is_preflight(environ: Environ, method: str, credential: Credential) -> bool:
    """Whether this is a browser asking permission to ask, which never carries credentials (Fetch, CORS-preflight)."""
    return (
        method == "OPTIONS"
        and settings.ALLOW_CORS_PREFLIGHT
        and credential == MISSING
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    )


# --- The dialects ----------------------------------------------------------------------------------------------------


def described_to_nginx(environ: Environ) -> Original:
    return Original(
        environ.get("HTTP_X_ORIGINAL_METHOD", ""),
        as_sent(environ.get("HTTP_X_ORIGINAL_URI", "")),
        plain_address(environ.get("HTTP_X_REAL_IP", "")),
    )


def described_by_forwarded(environ: Environ) -> Original:
    return Original(
        environ.get("HTTP_X_FORWARDED_METHOD", ""),
        as_sent(environ.get("HTTP_X_FORWARDED_URI", "")),
        last_address(environ.get("HTTP_X_FORWARDED_FOR", "")),
    )


def described_by_itself(environ: Environ) -> Original:
    uri = raw_uri(environ)
    # A prefix that is written in another way than Envoy writes it leaves an empty URI, which is refused.
    return Original(
        environ["REQUEST_METHOD"],
        uri.removeprefix(ENVOY_PREFIX) if uri.startswith(f"{ENVOY_PREFIX}/") else "",
        plain_address(environ.get("HTTP_X_REAL_IP", "")),
    )


def raw_uri(environ: Environ) -> str:
    """The request's own path and query, not decoded.

    gunicorn and uWSGI tell it. Elsewhere (tests, runserver) the decoded path is encoded again, which loses the
    difference between %2F and a slash.
    """
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw:
        return as_sent(raw)
    query = environ.get("QUERY_STRING", "")
    path = quote(environ.get("PATH_INFO", "").encode("latin-1", errors="replace"), safe="/~!$&'()*+,;=:@")
    return f"{path}?{query}" if query else path


def as_sent(text: str) -> str:
    """A URI from a WSGI header, with the bytes beyond ASCII percent-encoded."""
    return text if text.isascii() else target_from_header(text)
