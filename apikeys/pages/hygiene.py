"""Keys that deserve a look: each problem is a queryset of keys that are accepted now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from apikeys.decision.checks import ACTIONS, covers
from apikeys.models import FULL_ACCESS, APIKey, APIKeyQuerySet, KeyPermission
from apikeys.usage.analytics import Scope, TimeRange, sums_by

IDLE = EXERCISED_WITHIN = timedelta(days=90)
SOON = timedelta(days=30)
# Permissions are matched against endpoints in Python: that many keys at most, those used last first.
MOST_MATCHED = 2_000
# SQLite takes 32,766 parameters a statement.
KEYS_AT_ONCE = 200
ANY_ACTION_ANYWHERE = Q(action="*", resource__in=[resource for _, resource in FULL_ACCESS])


class Problem(NamedTuple):
    slug: str
    title: str
    advice: str
    keys: Callable[[], APIKeyQuerySet]


def never_used() -> APIKeyQuerySet:
    return accepted().filter(last_used_at__isnull=True)


def idle() -> APIKeyQuerySet:
    return accepted().filter(last_used_at__lt=timezone.now() - IDLE)


def without_expiry() -> APIKeyQuerySet:
    return accepted().filter(expires_at__isnull=True)


def expiring() -> APIKeyQuerySet:
    return accepted().filter(expires_at__lte=timezone.now() + SOON)


def unrestricted() -> APIKeyQuerySet:
    return accepted().filter(Exists(KeyPermission.objects.filter(ANY_ACTION_ANYWHERE, api_key=OuterRef("pk"))))


def with_unexercised_permissions() -> APIKeyQuerySet:
    return accepted().filter(pk__in=list(unexercised_permissions()))


def accepted() -> APIKeyQuerySet:
    return APIKey.objects.effective()


PROBLEMS = (
    Problem("never-used", "Never used", "Nobody would miss them. Revoke what was made by mistake.", never_used),
    Problem("idle", "Idle 90 days", "What they were for may be gone. Disable first, revoke when nobody asks.", idle),
    Problem("no-expiry", "No expiry", "A lost key of these works for ever. Give them an end.", without_expiry),
    Problem("expiring", "Expiring in 30 days", "Their holders need a new key soon.", expiring),
    Problem("unrestricted", "Unrestricted", "They may do everything. List what they need instead.", unrestricted),
    Problem(
        "unexercised",
        "Permissions never exercised",
        "They hold permissions that no request of the last 90 days needed.",
        with_unexercised_permissions,
    ),
)


def problem(slug: str) -> Problem | None:
    return next((item for item in PROBLEMS if item.slug == slug), None)


def unexercised_permissions(keys: Iterable[UUID] | None = None) -> dict[UUID, list[KeyPermission]]:
    """By key, the permissions that no request which was let through in the last 90 days needed.

    keys: look at these only. A key that did nothing at all in that time is left to the other problems.
    """
    chosen = accepted().filter(last_used_at__gte=timezone.now() - EXERCISED_WITHIN)
    if keys is not None:
        chosen = chosen.filter(pk__in=list(keys))
    pks = list(chosen.order_by("-last_used_at").values_list("pk", flat=True)[:MOST_MATCHED])
    used = endpoints_used(pks)
    idle_ones: dict[UUID, list[KeyPermission]] = {}
    for permission in KeyPermission.objects.filter(api_key__in=[pk for pk in pks if pk in used]):
        if not any(needed(permission, method, endpoint) for method, endpoint in used[permission.api_key_id]):
            idle_ones.setdefault(permission.api_key_id, []).append(permission)
    return idle_ones


def endpoints_used(keys: list[UUID]) -> dict[UUID, list[tuple[str, str]]]:
    time_range = TimeRange.of_last_days(EXERCISED_WITHIN.days + 1)
    used: dict[UUID, list[tuple[str, str]]] = {}
    for start in range(0, len(keys), KEYS_AT_ONCE):
        scope = Scope(keys=tuple(keys[start : start + KEYS_AT_ONCE]))
        for (key, method, endpoint), sums in sums_by(("key", "method", "endpoint"), scope, time_range):
            if sums.allowed:
                used.setdefault(key, []).append((method, endpoint))
    return used


def needed(permission: KeyPermission, method: str, endpoint: str) -> bool:
    """Whether the permission covers such a request. A resource asked for by name does not tell its action in the ledger:
    any action on it counts.
    """
    action = ACTIONS.get(method, "") if endpoint.startswith("/") else permission.action
    return permission.action in {"*", action} and covers(permission.resource, endpoint)
