"""Rate limits for Django views of your own: by path and the tier of the signed-in user, or else by client address.

Decorate a view with `@rate_limited`, or list its path in RATE_LIMITED_PATHS for RateLimitMiddleware. A request is charged
once, even where both apply, and only when it reaches a view: a redirect to a trailing slash costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from config.base.hosts import normal_host
from config.base.http import client_address, problem
from config.middleware import Middleware
from ratelimits.budgets import Budget, Outcome
from ratelimits.headers import quota_exceeded, rate_limit_headers
from ratelimits.limiter import limiter
from ratelimits.matching import AmbiguousPath, canonical_path, pattern_matches
from ratelimits.rules import budgets_for, own_rules_of, owner_of_address, owner_of_user

View = Callable[..., HttpResponse]


def rate_limited(view: View | None = None, *, cost: int = 1) -> Any:
    """Decorate a view: `@rate_limited` or, if it is expensive, `@rate_limited(cost=10)`."""
    if view is None:
        return lambda decorated: rate_limited(decorated, cost=cost)

    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        denial = charge(request, cost)
        return denial or add_headers(request, view(request, *args, **kwargs))

    return wrapper


class RateLimitMiddleware(Middleware):
    """Charge every request that reaches a view under one of RATE_LIMITED_PATHS (patterns such as /shop/*)."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return add_headers(request, self.get_response(request))

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        return charge(request, below=settings.RATE_LIMITED_PATHS) if settings.RATE_LIMITED_PATHS else None


def charge(request: HttpRequest, cost: int = 1, *, below: Iterable[str] = ("/*",)) -> HttpResponse | None:
    """below: the patterns of the paths that are charged."""
    if outcome_of(request) is not None:
        return None
    try:
        path = path_of(request)
    except AmbiguousPath as error:
        # Django chose the view by the path as it is: whatever it means elsewhere, this view is or isn't below.
        is_below = matches_any(below, request.path)
        return problem(403, "Forbidden", str(error), reason="ambiguous_path") if is_below else None
    if not matches_any(below, path):
        return None
    outcome = limiter().hit(budgets_of(request, path), cost)
    request.rate_limit_outcome = outcome  # type: ignore[attr-defined]
    return None if outcome.allowed else quota_exceeded(outcome)


def matches_any(patterns: Iterable[str], path: str) -> bool:
    return any(pattern_matches(pattern, path) for pattern in patterns)


def outcome_of(request: HttpRequest) -> Outcome | None:
    return getattr(request, "rate_limit_outcome", None)


def budgets_of(request: HttpRequest, path: str) -> list[Budget]:
    user, method, host = request.user, str(request.method), normal_host(request.META.get("HTTP_HOST", ""))
    if not user.is_authenticated:
        return budgets_for(owner_of_address(client_address(request)), None, method, path, host)
    tier = user.effective_tier
    return budgets_for(
        owner_of_user(user.pk),
        tier.pk if tier else None,
        method,
        path,
        host,
        own=own_rules_of(user.pk),
        billing_day=user.billing_day,
    )


def path_of(request: HttpRequest) -> str:
    """The canonical form of a path that Django has already decoded. Raises AmbiguousPath."""
    try:
        return canonical_path(quote(request.path))
    except UnicodeEncodeError as error:
        raise AmbiguousPath("The path is not valid UTF-8.") from error


def add_headers(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    outcome = outcome_of(request)
    if outcome is not None:
        for name, value in rate_limit_headers(outcome).items():
            response[name] = value
    return response
