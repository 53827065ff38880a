"""Verdicts as HTTP responses. Clients see denials, so they contain the documented reason and nothing internal."""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote

from django.http import HttpResponse

from apikeys.decision.decide import Verdict
from config.base.http import problem
from ratelimits.headers import quota_exceeded, rate_limit_headers

DETAILS = {
    "missing_key": "Send an API key in the header “Authorization: Bearer …” or “X-API-Key: …”.",
    "malformed_key": "That isn't a valid API key. Send one key, in one header and never in the URL.",
    "unknown_key": "This API key doesn't exist.",
    "revoked_key": "This API key has been revoked.",
    "disabled_key": "This API key is disabled.",
    "expired_key": "This API key has expired.",
    "owner_inactive": "The owner of this API key isn't active.",
    "address_not_allowed": "This API key can't be used from this IP address.",
    "ambiguous_path": "The path is ambiguous. Send it without dot segments, backslashes or encoded slashes.",
    "permission_denied": "This API key doesn't have permission for this request.",
    "tier_denied": "The plan of this API key's owner doesn't include this request.",
}
# If the tier for requests without a key has no access.
DETAIL_WITHOUT_KEY = f"This request needs an API key. {DETAILS['missing_key']}"
TITLES = {401: "Unauthorized", 403: "Forbidden"}
# What a header value may contain; everything else is percent-encoded.
HEADER_SAFE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

UNCACHED = {"Content-Type": "text/plain", "Cache-Control": "no-store"}
# Every approval has all of these: if one is missing, a gateway passes on what the client sent under its name.
EMPTY_IDENTITY = dict.fromkeys(
    ("X-Auth-User-Id", "X-Auth-Username", "X-Auth-Tier", "X-Auth-Key-Id", "X-Auth-Event-Id"), ""
)


def identity_headers(verdict: Verdict) -> dict[str, str]:
    """Raises ValueError for a verdict without a key, which is never an approval."""
    key = verdict.key
    if key is None:
        raise ValueError("A verdict without a key has no identity.")
    return {
        "X-Auth-User-Id": str(key.user_id),
        "X-Auth-Username": key.username,
        "X-Auth-Tier": header_text(key.tier_name or ""),
        "X-Auth-Key-Id": str(key.id),
        "X-Auth-Event-Id": str(verdict.event_id),
    }


def header_text(text: str) -> str:
    if text.isascii() and text.isprintable() and "%" not in text:
        return text.strip()
    return quote(text, safe=HEADER_SAFE).strip()


def limit_headers(verdict: Verdict) -> dict[str, str]:
    return dict(rate_limit_headers(verdict.outcome)) if verdict.outcome is not None else {}


def denial(verdict: Verdict) -> HttpResponse:
    if verdict.outcome is not None:
        response: HttpResponse = quota_exceeded(verdict.outcome, reason=verdict.reason)
    else:
        detail = DETAILS[verdict.reason] if verdict.key or verdict.anonymous_tier is None else DETAIL_WITHOUT_KEY
        response = problem(verdict.status, TITLES[verdict.status], detail, reason=verdict.reason)
    if verdict.status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = challenge(verdict.reason)
    response["X-Auth-Status"] = str(verdict.status)
    response["X-Auth-Reason"] = verdict.reason
    response["Cache-Control"] = "no-store"
    return response


def challenge(reason: str) -> str:
    """RFC 6750, section 3: no error code if the request has no credentials."""
    return 'Bearer realm="api"' if reason == "missing_key" else 'Bearer realm="api", error="invalid_token"'


class Approval(NamedTuple):
    """A response with status 200. Not an HttpResponse, which costs as much time as all checks of a decision together."""

    headers: dict[str, str]
    body: bytes = b"ok\n"

    def as_response(self) -> HttpResponse:
        return HttpResponse(self.body, headers=self.headers)


PREFLIGHT_APPROVAL = Approval(UNCACHED | EMPTY_IDENTITY)


def approval(verdict: Verdict) -> Approval:
    identity = identity_headers(verdict) if verdict.anonymous_tier is None else EMPTY_IDENTITY
    headers = UNCACHED | identity | limit_headers(verdict)
    # Only browsers need it, and they never see this response.
    headers.pop("Access-Control-Expose-Headers", None)
    return Approval(headers)
