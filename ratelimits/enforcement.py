"""Limits on Django views of one's own: by path and the tier of who is signed in, without an account by address.

Either decorate a view (`@rate_limited`), or name paths in RATE_LIMITED_PATHS for RateLimitMiddleware. A request is charged
once, however many of the two it meets, and only when it reaches a view: the redirect to a missing slash costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from config.base.http import client_address, problem
from ratelimits.headers import quota_exceeded, rate_limit_headers
from ratelimits.limiter import Outcome, limiter
from ratelimits.matching import AmbiguousPath, canonical_path, pattern_matches
from ratelimits.rules import budgets_for, owner_of_address, owner_of_user

View = Callable[..., HttpResponse]


def rate_limited(view: View | None = None, *, cost: int = 1) -> Any:
    """Decorate a view: `@rate_limited` or, for expensive ones, `@rate_limited(cost=10)`."""
    if view is None:
        return lambda decorated: rate_limited(decorated, cost=cost)

    @wraps(view)
    def limited(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        refusal = refuse_or_charge(request, cost)
        return refusal or with_headers(request, view(request, *args, **kwargs))

    return limited


class RateLimitMiddleware:
    """Charge every request that reaches a view under one of RATE_LIMITED_PATHS (patterns such as /shop/*)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return with_headers(request, self.get_response(request))

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        if not settings.RATE_LIMITED_PATHS:
            return None
        try:
            path = path_of(request)
        except AmbiguousPath as error:
            return ambiguous(error)
        if any(pattern_matches(pattern, path) for pattern in settings.RATE_LIMITED_PATHS):
            return refuse_or_charge(request)
        return None


def refuse_or_charge(request: HttpRequest, cost: int = 1) -> HttpResponse | None:
    """Charge the request, once; the answer to give instead of the view's if it is refused."""
    if outcome_of(request) is not None:
        return None
    try:
        path = path_of(request)
    except AmbiguousPath as error:
        return ambiguous(error)
    owner, tier_id = owner_and_tier(request)
    outcome = limiter().hit(budgets_for(owner, tier_id, str(request.method), path), cost)
    request.rate_limit_outcome = outcome  # type: ignore[attr-defined]
    return None if outcome.allowed else quota_exceeded(outcome)


def outcome_of(request: HttpRequest) -> Outcome | None:
    """How the budgets stood when this request was charged; None if it was not."""
    return getattr(request, "rate_limit_outcome", None)


def owner_and_tier(request: HttpRequest) -> tuple[str, int | None]:
    user = request.user
    if user.is_authenticated:
        # A property of the project's User, which stands beside this app: not imported.
        tier = user.effective_tier
        return owner_of_user(user.pk), tier.pk if tier else None
    return owner_of_address(client_address(request)), None


def path_of(request: HttpRequest) -> str:
    """The canonical path as Django itself understands the request: decoded once already. Raises AmbiguousPath."""
    try:
        return canonical_path(quote(request.path))
    except UnicodeEncodeError as error:
        raise AmbiguousPath("The path is not valid UTF-8.") from error


def ambiguous(error: AmbiguousPath) -> HttpResponse:
    return problem(403, "Ambiguous path", str(error), reason="ambiguous_path")


def with_headers(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    outcome = outcome_of(request)
    if outcome is not None:
        for name, value in rate_limit_headers(outcome).items():
            response[name] = value
    return response
