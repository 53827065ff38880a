"""Active keys that may need attention."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.db.models import BigIntegerField, Case, Exists, F, OuterRef, Q, Subquery, When, Window
from django.db.models.functions import RowNumber
from django.utils import timezone

from apikeys.decision.checks import ACTION_OF_METHOD, ANY_RESOURCE, covers
from apikeys.models import APIKey, APIKeyQuerySet, KeyPermission
from apikeys.usage.analytics import TimeRange, UsageScope, sums_by
from config.base.access import FULL_ACCESS, AccessRule
from config.base.database import in_batches
from config.base.hosts import host_matches
from tiers.models import Tier, TierAccess

IDLE = USED_WITHIN = timedelta(days=90)
SOON = timedelta(days=30)
# Permissions are compared with endpoints in Python: those of the keys used last.
MAX_COMPARED = 2_000
# SQLite takes 32,766 parameters in a statement.
KEYS_PER_QUERY = 200
ANY_ACTION_ANYWHERE = Q(action="*", host="", resource__in=[permission.resource for permission in FULL_ACCESS])


class HygieneProblem(NamedTuple):
    slug: str
    title: str
    advice: str
    keys: Callable[[], APIKeyQuerySet]
    # Of these keys, or of all: the permissions that are the problem, by key.
    permissions: Callable[[Iterable[UUID]], dict[UUID, list[KeyPermission]]] | None = None


def never_used() -> APIKeyQuerySet:
    return active().filter(last_used_at__isnull=True)


def idle() -> APIKeyQuerySet:
    return active().filter(last_used_at__lt=timezone.now() - IDLE)


def without_expiry() -> APIKeyQuerySet:
    return active().filter(expires_at__isnull=True)


def expiring() -> APIKeyQuerySet:
    return active().filter(expires_at__lte=timezone.now() + SOON)


def unrestricted() -> APIKeyQuerySet:
    return active().filter(Exists(KeyPermission.objects.filter(ANY_ACTION_ANYWHERE, api_key=OuterRef("pk"))))


def with_unused_permissions() -> APIKeyQuerySet:
    return active().filter(pk__in=list(unused_permissions()))


def beyond_tier() -> APIKeyQuerySet:
    return active().filter(pk__in=list(uncovered_permissions()))


def beyond_policy() -> APIKeyQuerySet:
    """Keys that their owners couldn't create now: the newest of too many, and those that work for too long."""
    beyond = Q(pk__in=[])
    for tier in Tier.objects.live().filter(Q(max_keys__isnull=False) | Q(max_key_days__isnull=False)):
        in_use = with_tier(APIKey.objects.in_use()).filter(tier_now=tier.pk)
        if tier.max_keys is not None:
            place = Window(RowNumber(), partition_by="user", order_by=("created_at", "pk"))
            beyond |= Q(pk__in=in_use.annotate(place=place).filter(place__gt=tier.max_keys).values("pk"))
        if tier.max_key_days is not None:
            latest = F("created_at") + timedelta(days=tier.max_key_days)
            beyond |= Q(tier_now=tier.pk) & (Q(expires_at__isnull=True) | Q(expires_at__gt=latest))
    keys: APIKeyQuerySet = with_tier(active()).filter(beyond)
    return keys


def active() -> APIKeyQuerySet:
    return APIKey.objects.effective()


def with_tier(keys: APIKeyQuerySet) -> Any:
    """Annotate `tier_now`: the id of the owner's tier, or of the default one once theirs has ended."""
    default = Tier.objects.live().filter(name=settings.DEFAULT_TIER_NAME).values("pk")
    ended = When(user__tier_until__lte=timezone.now(), then=Subquery(default))
    return keys.annotate(tier_now=Case(ended, default=F("user__tier"), output_field=BigIntegerField()))


def unused_permissions(keys: Iterable[UUID] | None = None) -> dict[UUID, list[KeyPermission]]:
    """By key, the permissions that no allowed request used in the last 90 days. Keys without requests are left out."""
    chosen = active().filter(last_used_at__gte=timezone.now() - USED_WITHIN)
    if keys is not None:
        chosen = chosen.filter(pk__in=list(keys))
    pks = list(chosen.order_by("-last_used_at").values_list("pk", flat=True)[:MAX_COMPARED])
    used = endpoints_used(pks)
    unused: dict[UUID, list[KeyPermission]] = {}
    for permission in KeyPermission.objects.filter(api_key__in=[pk for pk in pks if pk in used]):
        if not any(needed(permission, *request) for request in used[permission.api_key_id]):
            unused.setdefault(permission.api_key_id, []).append(permission)
    return unused


def endpoints_used(keys: list[UUID]) -> dict[UUID, list[tuple[str, str, str]]]:
    """By key: host, method and endpoint of allowed requests."""
    time_range = TimeRange.of_last_days(USED_WITHIN.days + 1)
    used: dict[UUID, list[tuple[str, str, str]]] = {}
    for batch in in_batches(keys, KEYS_PER_QUERY):
        scope = UsageScope(keys=tuple(batch))
        for (key, *request), sums in sums_by(("key", "host", "method", "endpoint"), scope, time_range):
            if sums.allowed:
                used.setdefault(key, []).append(tuple(request))
    return used


def needed(permission: KeyPermission, host: str, method: str, endpoint: str) -> bool:
    """Whether the permission allows such a request. The ledger doesn't have the action on a named resource: any counts."""
    action = ACTION_OF_METHOD.get(method, "") if endpoint.startswith("/") else permission.action
    return (
        permission.action in {"*", action}
        and host_matches(permission.host, host)
        and covers(permission.resource, endpoint)
    )


def uncovered_permissions(keys: Iterable[UUID] | None = None) -> dict[UUID, list[KeyPermission]]:
    """By key, the permissions that the tier of its owner doesn't cover."""
    everything = TierAccess.objects.filter(ANY_ACTION_ANYWHERE, tier=OuterRef("tier_now"))
    chosen = with_tier(active()).filter(~Exists(everything), tier_now__in=Tier.objects.live().values("pk"))
    if keys is not None:
        chosen = chosen.filter(pk__in=list(keys))
    tiers = dict(chosen.order_by(F("last_used_at").desc(nulls_last=True)).values_list("pk", "tier_now")[:MAX_COMPARED])
    access: dict[int, list[TierAccess]] = {}
    for rule in TierAccess.objects.filter(tier__in=set(tiers.values())):
        access.setdefault(rule.tier_id, []).append(rule)
    uncovered: dict[UUID, list[KeyPermission]] = {}
    for permission in KeyPermission.objects.filter(api_key__in=list(tiers)):
        rules = access.get(tiers[permission.api_key_id], [])
        if not any(includes(rule, permission) for rule in rules):
            uncovered.setdefault(permission.api_key_id, []).append(permission)
    return uncovered


def includes(rule: AccessRule, permission: AccessRule) -> bool:
    """Whether `rule` allows all that `permission` allows."""
    return (
        rule.action in {"*", permission.action}
        and host_matches(rule.host, permission.host)
        and includes_resource(rule.resource, permission.resource)
    )


def includes_resource(wide: str, narrow: str) -> bool:
    if narrow.endswith("*") and wide not in ANY_RESOURCE:
        return wide.endswith("/*") and narrow != "*" and covers(wide, narrow.removesuffix("/*") or "/")
    return covers(wide, narrow)


PROBLEMS = (
    HygieneProblem("never-used", "Never used", "Revoke those that were created by mistake.", never_used),
    HygieneProblem(
        "idle", "Idle 90 days", "They may no longer be needed. Disable them, then revoke them if nobody objects.", idle
    ),
    HygieneProblem("no-expiry", "No expiry", "They work forever, even if they leak. Set an expiry.", without_expiry),
    HygieneProblem("expiring", "Expiring in 30 days", "Their owners will soon need a new key.", expiring),
    HygieneProblem(
        "unrestricted",
        "Unrestricted",
        "They can do everything. Replace that with the permissions they need.",
        unrestricted,
    ),
    HygieneProblem(
        "unexercised",
        "Unused permissions",
        "They have permissions that no request used in the last 90 days.",
        with_unused_permissions,
        unused_permissions,
    ),
    HygieneProblem(
        "beyond-tier",
        "Not in the tier",
        "They have permissions that their owner's tier doesn't cover, so some requests are denied.",
        beyond_tier,
        uncovered_permissions,
    ),
    HygieneProblem(
        "beyond-policy",
        "Over the key policy",
        "Their owner has more keys than the tier allows, or they expire later than it allows.",
        beyond_policy,
    ),
)


def problem(slug: str) -> HygieneProblem | None:
    return next((item for item in PROBLEMS if item.slug == slug), None)
