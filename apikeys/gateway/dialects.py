"""How each gateway describes the original request when it asks Gatehouse.

The URL alone selects the dialect: headers that a client can forge never decide how a request is read, and options never
come from the query. The body is never read. docs/gateways/ has a configuration for each gateway.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.http import HttpResponse

from apikeys.addresses import last_address
from apikeys.decision.checks import Facts
from apikeys.decision.credentials import MISSING, Credential, read_credential
from apikeys.decision.decide import Verdict
from apikeys.gateway.answers import PREFLIGHT_APPROVAL, Approval, approval, denial
from config.base.hosts import host_of_header
from config.base.http import plain_address, problem
from ratelimits.matching import METHOD, target_from_header

logger = logging.getLogger(__name__)

# A WSGI environment, or a request's META.
Environ = Mapping[str, Any]
Answer = HttpResponse | Approval

ENVOY_PREFIX = "/authz/envoy"
METHOD_TOKEN = re.compile(METHOD)


class Question(NamedTuple):
    """The facts an endpoint wants decided, and how it turns the verdict into a response."""

    facts: Facts
    answer: Callable[[Verdict], Answer]


class OriginalRequest(NamedTuple):
    """The request as the gateway describes it. What it doesn't say is empty."""

    method: str
    uri: str
    address: str
    host: str


def nginx(environ: Environ) -> Question | Answer:
    return question(environ, request_from_nginx(environ), answer_for_nginx)


def forward_auth(environ: Environ) -> Question | Answer:
    """Traefik's ForwardAuth and Caddy's forward_auth."""
    return question(environ, request_from_forward_auth(environ), answer)


def envoy(environ: Environ) -> Question | Answer:
    """ext_authz over HTTP: the client's own request, under our prefix."""
    return question(environ, request_from_envoy(environ), answer)


def question(environ: Environ, original: OriginalRequest, answer: Callable[[Verdict], Answer]) -> Question | Answer:
    if not METHOD_TOKEN.fullmatch(original.method) or not original.uri:
        return deny_undescribed(environ)
    credential = credential_of(environ, original.uri)
    if is_preflight(environ, original.method, credential):
        return PREFLIGHT_APPROVAL
    facts = Facts(
        credential,
        method=original.method,
        path=original.uri,
        address=original.address,
        user_agent=environ.get("HTTP_USER_AGENT", ""),
        host=original.host,
    )
    return Question(facts, answer)


def answer(verdict: Verdict) -> Answer:
    return approval(verdict) if verdict.allowed else denial(verdict)


def answer_for_nginx(verdict: Verdict) -> Answer:
    """auth_request turns all but 2xx, 401 and 403 into 500, so a 429 is sent as 403 with X-Auth-Status: 429."""
    response = answer(verdict)
    if isinstance(response, HttpResponse) and response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        response.status_code = HTTPStatus.FORBIDDEN
    return response


def deny_undescribed(environ: Environ) -> HttpResponse:
    # Guessing the method or path could allow the wrong request.
    logger.warning("%s: the gateway didn't send a valid method and a URI of the original request", environ["PATH_INFO"])
    return problem(403, "Forbidden", "The gateway didn't describe the request.")


def credential_of(environ: Environ, uri: str) -> Credential:
    return read_credential(environ.get("HTTP_AUTHORIZATION", ""), environ.get("HTTP_X_API_KEY"), uri)


def is_preflight(environ: Environ, method: str, credential: Credential) -> bool:
    """Whether this is a CORS preflight that may pass. Browsers never send credentials with one (Fetch standard)."""
    return (
        method == "OPTIONS"
        and settings.ALLOW_CORS_PREFLIGHT
        and credential == MISSING
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
    )


def request_from_nginx(environ: Environ) -> OriginalRequest:
    return OriginalRequest(
        environ.get("HTTP_X_ORIGINAL_METHOD", ""),
        percent_encoded(environ.get("HTTP_X_ORIGINAL_URI", "")),
        plain_address(environ.get("HTTP_X_REAL_IP", "")),
        host_of_header(environ.get("HTTP_X_ORIGINAL_HOST", "")),
    )


def request_from_forward_auth(environ: Environ) -> OriginalRequest:
    return OriginalRequest(
        environ.get("HTTP_X_FORWARDED_METHOD", ""),
        percent_encoded(environ.get("HTTP_X_FORWARDED_URI", "")),
        last_address(environ.get("HTTP_X_FORWARDED_FOR", "")),
        host_of_header(environ.get("HTTP_X_FORWARDED_HOST", "")),
    )


def request_from_envoy(environ: Environ) -> OriginalRequest:
    uri = raw_uri(environ)
    # Without the exact prefix that Envoy sends, the URI stays empty and the request is denied.
    return OriginalRequest(
        environ["REQUEST_METHOD"],
        uri.removeprefix(ENVOY_PREFIX) if uri.startswith(f"{ENVOY_PREFIX}/") else "",
        plain_address(environ.get("HTTP_X_REAL_IP", "")),
        host_of_header(environ.get("HTTP_HOST", "")),
    )


def raw_uri(environ: Environ) -> str:
    """The request's own path and query, not decoded.

    Only gunicorn and uWSGI provide it. With other servers (tests, runserver) the decoded path is encoded again, and %2F
    can't be told from a slash.
    """
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw:
        return percent_encoded(raw)
    query = environ.get("QUERY_STRING", "")
    path = quote(environ.get("PATH_INFO", "").encode("latin-1", errors="replace"), safe="/~!$&'()*+,;=:@")
    return f"{path}?{query}" if query else path


def percent_encoded(text: str) -> str:
    """A URI from a WSGI header, with non-ASCII bytes percent-encoded."""
    return text if text.isascii() else target_from_header(text)
