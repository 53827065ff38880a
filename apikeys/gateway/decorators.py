"""Protect Django views of one's own by key, in the same process: no gateway, the same decision, the same usage rows."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from apikeys.decision.credentials import read_credential
from apikeys.decision.decide import Facts, Verdict, decide
from apikeys.gateway.answers import denial, limit_headers
from apikeys.gateway.dialects import raw_uri
from apikeys.gateway.endpoints import unavailable
from config.base.http import client_address

View = Callable[..., HttpResponse]


def require_key(*, resource: str = "", action: str = "", cost: int = 1) -> Callable[[View], View]:
    """Let a view run only for requests with a key that may make them; the view finds the verdict in `request.verdict`.

    resource, action: what the key must be permitted, instead of the request's own path and method. cost: how much of each
    budget a request takes. The view is exempt from CSRF checks: a key is no cookie, no browser sends it by itself.
    """

    def decorate(view: View) -> View:
        @csrf_exempt
        @functools.wraps(view)
        def protected(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            refusal = admit(request, resource=resource, action=action, cost=cost)
            return with_limits(view(request, *args, **kwargs), request) if refusal is None else refusal

        protected.requires_key = True  # type: ignore[attr-defined]
        return protected

    return decorate


def admit(request: HttpRequest, *, resource: str = "", action: str = "", cost: int = 1) -> HttpResponse | None:
    """Judge a request to this process: its refusal, or None with the verdict in `request.verdict`."""
    try:
        verdict = decide(facts_of(request, resource=resource, action=action, cost=cost))
    except Exception as error:  # noqa: BLE001  (whatever breaks, the door stays shut; the log has it)
        return unavailable(request.path, error)
    request.verdict = verdict  # type: ignore[attr-defined]
    return None if verdict.allowed else denial(verdict)


def facts_of(request: HttpRequest, *, resource: str, action: str, cost: int) -> Facts:
    meta = request.META
    return Facts(
        read_credential(meta.get("HTTP_AUTHORIZATION", ""), meta.get("HTTP_X_API_KEY"), raw_uri(meta)),
        method=request.method or "",
        path=raw_uri(meta),
        address=client_address(request),
        user_agent=meta.get("HTTP_USER_AGENT", ""),
        resource=resource,
        action=action,
        cost=cost,
    )


def with_limits(response: HttpResponse, request: HttpRequest) -> HttpResponse:
    """The response of a protected view, with what is left of the caller's budgets."""
    verdict: Verdict = request.verdict  # type: ignore[attr-defined]
    for name, value in limit_headers(verdict).items():
        response.headers[name] = value
    return response
