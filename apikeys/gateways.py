"""The gateways' question: one URL for each way a gateway describes the original request, one answer.

The dialect is the URL and nothing else: headers that a client can forge never choose how a request is read, and options
never come from the query. The request's body is never read. docs/gateways/ has a configuration for each gateway.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from apikeys.addresses import last_address, plain_address
from apikeys.answers import approval, denial
from apikeys.credentials import MISSING, Credential, read_credential
from apikeys.decision import Facts, decide
from config.base_http import problem
from config.base_logs import one_line
from ratelimits.matching import target_from_header

logger = logging.getLogger(__name__)

ENVOY_PREFIX = "/authz/envoy"


class Original(NamedTuple):
    """The original request, as its gateway describes it; empty where the gateway says nothing."""

    method: str
    uri: str
    address: str


def nginx(request: HttpRequest) -> HttpResponse:
    """auth_request: nginx turns everything but 2xx, 401 and 403 into 500, so a 429 travels as 403 with X-Auth-Status."""
    response = answer(request, described_to_nginx(request))
    if response.status_code == HTTPStatus.TOO_MANY_REQUESTS:
        response.status_code = HTTPStatus.FORBIDDEN
    return response


def forward_auth(request: HttpRequest) -> HttpResponse:
    """Traefik's ForwardAuth and Caddy's forward_auth, which describe the request alike."""
    return answer(request, described_by_forwarded(request))


def envoy(request: HttpRequest, path: str = "") -> HttpResponse:
    """ext_authz over HTTP: the request is the client's own, under our prefix."""
    return answer(request, described_by_itself(request))


def answer(request: HttpRequest, original: Original) -> HttpResponse:
    if not original.method or not original.uri:
        return refuse_description(request)
    credential = credential_of(request, original.uri)
    if is_preflight(request, original.method, credential):
        return let_through()
    verdict = decide(
        Facts(
            credential,
            method=original.method,
            path=original.uri,
            address=original.address,
            user_agent=request.META.get("HTTP_USER_AGENT", ""),
        )
    )
    return approval(verdict) if verdict.allowed else denial(verdict)


def refuse_description(request: HttpRequest) -> HttpResponse:
    # A guessed method or path could open the wrong door.
    logger.warning(
        "The gateway did not say which request it asks about: %s lacks method or URI", one_line(request.path)
    )
    return problem(403, "Forbidden", "The gateway did not describe the request.")


def credential_of(request: HttpRequest, uri: str) -> Credential:
    meta = request.META
    return read_credential(meta.get("HTTP_AUTHORIZATION", ""), meta.get("HTTP_X_API_KEY"), uri.partition("?")[2])


def is_preflight(request: HttpRequest, method: str, credential: Credential) -> bool:
    """Whether this is a browser asking permission to ask, which never carries credentials (Fetch, CORS-preflight)."""
    return (
        method == "OPTIONS"
        and settings.ALLOW_CORS_PREFLIGHT
        and credential == MISSING
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.META
    )


def let_through() -> HttpResponse:
    return HttpResponse(b"ok\n", content_type="text/plain", headers={"Cache-Control": "no-store"})


# --- The dialects ----------------------------------------------------------------------------------------------------


def described_to_nginx(request: HttpRequest) -> Original:
    meta = request.META
    return Original(
        meta.get("HTTP_X_ORIGINAL_METHOD", ""),
        as_sent(meta.get("HTTP_X_ORIGINAL_URI", "")),
        plain_address(meta.get("HTTP_X_REAL_IP", "")),
    )


def described_by_forwarded(request: HttpRequest) -> Original:
    meta = request.META
    return Original(
        meta.get("HTTP_X_FORWARDED_METHOD", ""),
        as_sent(meta.get("HTTP_X_FORWARDED_URI", "")),
        last_address(meta.get("HTTP_X_FORWARDED_FOR", "")),
    )


def described_by_itself(request: HttpRequest) -> Original:
    meta = request.META
    uri = raw_uri(request)
    # A prefix that is written in another way than Envoy writes it leaves an empty URI, which is refused.
    return Original(
        request.method or "",
        uri.removeprefix(ENVOY_PREFIX) if uri.startswith(f"{ENVOY_PREFIX}/") else "",
        plain_address(meta.get("HTTP_X_REAL_IP", "")),
    )


def raw_uri(request: HttpRequest) -> str:
    """The request's own path and query, not decoded.

    gunicorn and uWSGI tell it. Elsewhere (tests, runserver) the decoded path is encoded again, which loses the
    difference between %2F and a slash.
    """
    meta = request.META
    raw = meta.get("RAW_URI") or meta.get("REQUEST_URI")
    if raw:
        return as_sent(raw)
    query = meta.get("QUERY_STRING", "")
    path = quote(meta.get("PATH_INFO", "").encode("latin-1", errors="replace"), safe="/~!$&'()*+,;=:@")
    return f"{path}?{query}" if query else path


def as_sent(text: str) -> str:
    """A URI from a WSGI header, with the bytes beyond ASCII percent-encoded."""
    return text if text.isascii() else target_from_header(text)
