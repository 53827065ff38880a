"""Require an API key for your own Django views: the same decision and usage events, without a gateway."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from apikeys.decision.checks import Facts
from apikeys.decision.credentials import read_credential
from apikeys.decision.decide import Verdict
from apikeys.gateway.answers import denial, limit_headers
from apikeys.gateway.dialects import raw_uri
from apikeys.gateway.endpoints import unavailable
from apikeys.gateway.observed import IN_PROCESS, decide_now
from config.base.hosts import host_of_header
from config.base.http import client_address

View = Callable[..., HttpResponse]


def require_key(*, resource: str = "", action: str = "", cost: int = 1) -> Callable[[View], View]:
    """Run a view only if the request's key may make the request. The view finds the verdict in `request.verdict`.

    resource, action: what the key needs permission for, instead of the request's path and method. cost: how much the
    request uses of each rate limit. The view is exempt from CSRF checks: browsers never send a key by themselves.
    """

    def decorate(view: View) -> View:
        @csrf_exempt
        @functools.wraps(view)
        def protected(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            denied = admit(request, resource=resource, action=action, cost=cost)
            return with_limits(view(request, *args, **kwargs), request) if denied is None else denied

        protected.requires_key = True  # type: ignore[attr-defined]
        return protected

    return decorate


def admit(request: HttpRequest, *, resource: str = "", action: str = "", cost: int = 1) -> HttpResponse | None:
    """The response to a denied request; None if it is allowed. Sets `request.verdict`."""
    try:
        verdict = decide_now(facts_of(request, resource=resource, action=action, cost=cost), IN_PROCESS)
    except Exception as error:  # noqa: BLE001  (on any error, deny and log)
        return unavailable(request.path, error)
    if verdict.error is not None:
        return unavailable(request.path, verdict.error)
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
        host=host_of_header(meta.get("HTTP_HOST", "")),
        needs_key=True,
    )


def with_limits(response: HttpResponse, request: HttpRequest) -> HttpResponse:
    verdict: Verdict = request.verdict  # type: ignore[attr-defined]
    for name, value in limit_headers(verdict).items():
        response.headers[name] = value
    return response
