"""Verdicts as HTTP: what the gateway passes on upstream, and what the client is told when the answer is no.

A denial reaches the public, so it holds the documented reason and nothing else: no name, no id, no internals.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote

from django.http import HttpResponse

from apikeys.decision.decide import Verdict
from config.base.http import problem
from ratelimits.headers import quota_exceeded, rate_limit_headers

DETAILS = {
    "missing_key": "Send an API key, as “Authorization: Bearer …” or “X-API-Key: …”.",
    "malformed_key": "The API key is not one. Send one key, in one header, as it was shown when it was made.",
    "unknown_key": "The API key is not known.",
    "revoked_key": "The API key has been revoked.",
    "disabled_key": "The API key is disabled.",
    "expired_key": "The API key has expired.",
    "owner_inactive": "The account that holds the API key is not active.",
    "address_not_allowed": "The API key may not be used from this address.",
    "ambiguous_path": "The path can be read in more than one way. Send it in its plain form.",
    "permission_denied": "The API key has no permission for this.",
}
TITLES = {401: "Unauthorized", 403: "Forbidden"}
# What a header value may hold as it is; everything else travels percent-encoded.
PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")

UNCACHED = {"Content-Type": "text/plain", "Cache-Control": "no-store"}


# Set on every yes: a gateway passes on what the client sent under a name that the answer lacks.
EMPTY_IDENTITY = dict.fromkeys(
    ("X-Auth-User-Id", "X-Auth-Username", "X-Auth-Tier", "X-Auth-Key-Id", "X-Auth-Event-Id"), ""
)


def identity_headers(verdict: Verdict) -> dict[str, str]:
    """Who asks, for the upstream. Raises ValueError for a verdict that names nobody: such a one is never a yes."""
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
    """`text` as a header can carry it: UTF-8 percent-encoded where it is not printable ASCII."""
    if text.isascii() and text.isprintable() and "%" not in text:
        return text.strip()
    return quote(text, safe=PLAIN).strip()


def limit_headers(verdict: Verdict) -> dict[str, str]:
    """What is left of the budgets, for a verdict that got as far as counting."""
    return dict(rate_limit_headers(verdict.outcome)) if verdict.outcome is not None else {}


def denial(verdict: Verdict) -> HttpResponse:
    """The refusal of a verdict as the client should see it: status, headers and problem+json body."""
    if verdict.outcome is not None:
        response: HttpResponse = quota_exceeded(verdict.outcome, reason=verdict.reason)
    else:
        response = problem(verdict.status, TITLES[verdict.status], DETAILS[verdict.reason], reason=verdict.reason)
    if verdict.status == HTTPStatus.UNAUTHORIZED:
        response["WWW-Authenticate"] = challenge(verdict.reason)
    response["X-Auth-Status"] = str(verdict.status)
    response["X-Auth-Reason"] = verdict.reason
    response["Cache-Control"] = "no-store"
    return response


def challenge(reason: str) -> str:
    """RFC 6750, section 3: no error code when the request carried no credentials at all."""
    return 'Bearer realm="api"' if reason == "missing_key" else 'Bearer realm="api", error="invalid_token"'


class Approval(NamedTuple):
    """A yes: 200, these headers, and a body of three bytes. Most answers are one, and a gateway waits for each: making an
    HttpResponse of it costs as much as all checks of the decision together.
    """

    headers: dict[str, str]
    body: bytes = b"ok\n"

    def as_response(self) -> HttpResponse:
        return HttpResponse(self.body, headers=self.headers)


LET_THROUGH = Approval(UNCACHED | EMPTY_IDENTITY)


def approval(verdict: Verdict) -> Approval:
    """Exactly 200, with whom it is for and what is left of his budgets."""
    headers = UNCACHED | identity_headers(verdict) | limit_headers(verdict)
    # For browsers, which never see this answer: the gateway does.
    headers.pop("Access-Control-Expose-Headers", None)
    return Approval(headers)
