"""What tiers say about the keys of their users, for many keys at once (see apikeys.services.check_key_policy)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from django.db.models import Count
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey
from apikeys.tools.key_cells import LineProblem
from config.base.database import in_batches
from config.base.text import counted

BATCH = 500


def policy_problems(keys: Sequence[tuple[int, APIKey]]) -> list[LineProblem]:
    """Why keys can't be created, by the line they're on. Their users must be set, with their tiers."""
    problems = []
    tiers = capped_tiers(key for _, key in keys)
    held = count_keys(list(tiers))
    for line, key in keys:
        tier = tiers.get(key.user_id)
        if tier is None or key.revoked_at is not None:
            continue
        held[key.user_id] += 1
        if tier.max_keys is not None and held[key.user_id] > tier.max_keys:
            message = f"The tier “{tier}” allows {counted(tier.max_keys, 'key')} per user. {key.user} would have more."
            problems.append(LineProblem(line, "username", message))
        if expires_too_late(key, tier):
            message = f"Keys on the tier “{tier}” must expire within {counted(tier.max_key_days, 'day')}."
            problems.append(LineProblem(line, "expires_at", message))
    return problems


def capped_tiers(keys: Iterable[APIKey]) -> dict[int, Any]:
    """The tiers that bound the keys of their users, by user."""
    users = {key.user_id: key.user for key in keys}
    tiers = {pk: user.effective_tier for pk, user in users.items()}
    return {
        pk: tier for pk, tier in tiers.items() if tier and (tier.max_keys is not None or tier.max_key_days is not None)
    }


def expires_too_late(key: APIKey, tier: Any) -> bool:
    if tier.max_key_days is None:
        return False
    return key.expires_at is None or key.expires_at > timezone.now() + timedelta(days=tier.max_key_days)


def count_keys(users: Sequence[int]) -> Counter[int]:
    held: Counter[int] = Counter()
    for batch in in_batches(users, BATCH):
        keys = APIKey.objects.in_use().filter(user__in=batch)
        held.update(dict(keys.order_by().values_list("user").annotate(Count("pk"))))
    return held


def lock_owners(keys: Iterable[APIKey]) -> None:
    """Lock the owners, so that nobody creates a key for them until the transaction ends."""
    for batch in in_batches(sorted(capped_tiers(keys)), BATCH):
        locked = User.objects.select_for_update(no_key=True).filter(pk__in=batch)
        list(locked.order_by("pk").values_list("pk"))
