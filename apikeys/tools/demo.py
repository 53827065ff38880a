"""Sample data: users, tiers, rate limits, API keys and a month of plausible usage.

Names are fixed and the random numbers are seeded. Existing rows stay as they are, so a second run adds nothing. Nobody can
sign in as a demo user, and nobody knows the secret of a demo key.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey, KeyPermission, KeyUsage
from apikeys.secrets import new_secret
from apikeys.services import stored_form
from config.base.access import Permission
from config.base.models import uuid7
from ratelimits.models import RateLimit
from ratelimits.rules import owner_of_user
from ratelimits.stores.balances import charge_reports
from tiers.models import Tier, TierAccess

USERS, KEYS, DAYS = 200, 300, 30
BATCH = 2_000
DOMAIN = "demo.example"
# Name, description, and how many times higher its limits are than those of the first tier.
TIERS = [
    ("free", "For trying things out.", 1),
    ("basic", "For a side project.", 5),
    ("pro", "For a product with customers.", 20),
    ("enterprise", "For companies with a support contract.", 100),
]
# What a tier adds to its limits: a key policy, and access to less than everything.
POLICIES = {"basic": {"max_keys": 5, "max_key_days": 365}}
ACCESS = {
    "basic": [
        Permission("*", "/orders/*"),
        Permission("read", "/products/*"),
        Permission("read", "/customers/*"),
        Permission("create", "/search"),
        Permission("*", "*", f"sandbox.{DOMAIN}"),
    ],
}
HOSTS = (f"api.{DOMAIN}", f"sandbox.{DOMAIN}")
# Method, pattern, limit on the first tier, period, window.
LIMITS = [
    ("", "/*", 60, 60, "rolling"),
    ("GET", "/orders/{id}", 30, 60, "rolling"),
    ("POST", "/orders", 10, 60, "rolling"),
    ("POST", "/search", 5, 10, "rolling"),
    ("GET", "/reports/*", 100, 86_400, "fixed"),
    ("", "/*", 10_000, 2_678_400, "month"),
]
# Method, endpoint, weight, and the path of the limit that applies.
TRAFFIC = [
    ("GET", "/orders", 30, "/*"),
    ("GET", "/orders/1042", 25, "/orders/{id}"),
    ("GET", "/products/17", 18, "/*"),
    ("POST", "/search", 9, "/search"),
    ("POST", "/orders", 8, "/orders"),
    ("GET", "/reports/daily", 6, "/reports/*"),
    ("GET", "/customers/88", 3, "/*"),
    ("DELETE", "/orders/1042", 1, "/*"),
]
# Status, reason, weight.
VERDICTS = [
    (200, "", 935),
    (429, "rate_limited", 35),
    (403, "permission_denied", 15),
    (401, "expired_key", 10),
    (403, "tier_denied", 5),
]
FIRST_NAMES = "Ada Alan Barbara Carl Chen Dana Edsger Elena Farid Grace Hedy Ines Jun Katya Leslie Mina Noor Olu Priya Radia".split()
LAST_NAMES = "Abebe Berg Castro Dubois Eriksen Fischer Garcia Haddad Ito Jansen".split()
PURPOSES = [
    "nightly export",
    "mobile app",
    "web shop",
    "staging",
    "partner sync",
    "dashboards",
    "data science",
    "cron jobs",
]
USER_AGENTS = ["python-requests/2.32", "okhttp/4.12", "axios/1.7", "Go-http-client/2.0", "curl/8.9"]
# Weight of each hour of the day, in UTC.
HOUR_WEIGHTS = [1, 1, 1, 1, 2, 3, 5, 8, 12, 15, 16, 15, 13, 15, 17, 17, 15, 12, 9, 7, 5, 4, 3, 2]


def fill() -> dict[str, int]:
    """Create what is missing; returns how many rows of each kind were created."""
    rng = random.Random(2026)
    with transaction.atomic():
        tiers = [create_tier(name, description) for name, description, _ in TIERS]
        limits = create_limits(tiers)
        users = create_users(tiers, rng)
        limits += create_exceptions(users)
        keys = create_keys(users, rng)
    events = create_usage(keys, rng)
    charge_tokens(users)
    return {"rate limits": limits, "users": len(users), "keys": len(keys), "usage events": events}


def create_tier(name: str, description: str) -> Tier:
    defaults = {"description": description, **POLICIES.get(name, {})}
    tier, is_new = Tier.objects.live().get_or_create(name=name, defaults=defaults)
    if is_new and name in ACCESS:
        tier.access.all().delete()
        TierAccess.objects.bulk_create(TierAccess(tier=tier, **rule._asdict()) for rule in ACCESS[name])
    return tier  # type: ignore[no-any-return]


def create_limits(tiers: list[Tier]) -> int:
    created: int = 0
    for tier, (name, _, factor) in zip(tiers, TIERS, strict=True):
        for number, (method, path, limit, period, window) in enumerate(LIMITS, start=1):
            values = {"tier": tier, "method": method, "path": path, "period": period, "window": window}
            defaults = values | {"limit": limit * factor}
            created += RateLimit.objects.get_or_create(name=f"{name}-{number}", defaults=defaults)[1]
        tokens = {
            "tier": tier,
            "path": "/*",
            "limit": 250_000 * factor,
            "window": "month",
            "unit": "tokens",
            "overall": True,
        }
        created += RateLimit.objects.get_or_create(name=f"{name}-tokens", defaults=tokens)[1]
    observed = {"tier": tiers[0], "method": "GET", "path": "/customers/*", "limit": 20, "mode": RateLimit.Mode.OBSERVE}
    created += RateLimit.objects.get_or_create(name="free-customers-trial", defaults=observed)[1]
    return created


def create_exceptions(users: list[User]) -> int:
    """One user has $20.00 for searches. Another has more orders for two weeks, and is billed on the 31st."""
    if not users:
        return 0
    prepaid = {"limit": 20 * 10**8, "unit": "microcents", "window": "total", "path": "/search", "overall": True}
    weekly = {"limit": 500_000, "window": "week", "path": "/orders/*", "ends_at": timezone.now() + timedelta(days=14)}
    exceptions = [
        RateLimit.objects.get_or_create(name=name, defaults=values | {"user": user})[1]
        for name, values, user in (("search-prepaid", prepaid, users[0]), ("orders-campaign", weekly, users[1]))
    ]
    return sum(exceptions)


def create_users(tiers: list[Tier], rng: random.Random) -> list[User]:
    if User.objects.filter(email__endswith=f"@{DOMAIN}").exists():
        return []
    names = [f"{first} {last}" for last in LAST_NAMES for first in FIRST_NAMES]
    rng.shuffle(names)
    users = [new_user(name, tiers, rng) for name in names[:USERS]]
    users[1].billing_day = 31
    users[2].tier_until = timezone.now() + timedelta(days=30)
    User.objects.bulk_create(users)
    return users


def new_user(name: str, tiers: list[Tier], rng: random.Random) -> User:
    username = name.lower().replace(" ", "_")
    now = timezone.now()
    joined = now - timedelta(days=DAYS + rng.expovariate(1 / 150))
    return User(
        name=name,
        username=username,
        email=f"{username}@{DOMAIN}",
        password=make_password(None),
        tier=rng.choices(tiers, [60, 25, 12, 3])[0],
        is_active=rng.random() > 0.03,
        created_at=joined,
        last_login=now - timedelta(days=rng.expovariate(1 / 9)),
        deleted_at=now - timedelta(days=2) if rng.random() < 0.03 else None,
    )


def create_keys(users: list[User], rng: random.Random) -> list[APIKey]:
    if not users:
        return []
    keys = [new_key(user, rng) for user in rng.choices(users, k=KEYS)]
    APIKey.objects.bulk_create(keys)
    KeyPermission.objects.bulk_create(permission for key in keys for permission in new_permissions(key, rng))
    return keys


def new_key(user: User, rng: random.Random) -> APIKey:
    now = timezone.now()
    created = now - timedelta(days=rng.uniform(1, 200))
    key = APIKey(
        id=uuid7(created),
        user=user,
        name=rng.choice(PURPOSES),
        created_at=created,
        **stored_form(new_secret()),
    )
    draw = rng.random()
    if draw < 0.04:
        key.revoked_at, key.revoked_reason = now - timedelta(days=3), "Found in a public repository."
    elif draw < 0.07:
        key.is_active = False
    elif draw < 0.5:
        key.expires_at = now + timedelta(days=rng.uniform(-3, 365))
    return key


def new_permissions(key: APIKey, rng: random.Random) -> list[KeyPermission]:
    if rng.random() < 0.4:
        return [KeyPermission(api_key=key, resource="*", action=KeyPermission.Action.ANY)]
    choices = [
        ("/orders/*", "read"),
        ("/orders/*", "create"),
        ("/products/*", "read"),
        ("/search", "create"),
        ("/reports/*", "read"),
    ]
    chosen = rng.sample(choices, rng.randint(1, len(choices)))
    host = HOSTS[1] if rng.random() < 0.1 else ""
    return [KeyPermission(api_key=key, resource=resource, action=action, host=host) for resource, action in chosen]


def create_usage(keys: list[APIKey], rng: random.Random) -> int:
    created = 0
    limits = {(limit.tier_id, limit.path): limit for limit in RateLimit.objects.live().order_by("-period")}
    for key in keys:
        if rng.random() < 0.8:
            events = list(new_events(key, limits, rng))
            KeyUsage.objects.bulk_create(events, batch_size=BATCH)
            set_last_use(key, events)
            created += len(events)
    return created


def charge_tokens(users: list[User]) -> None:
    """Charge what this month's events took, as their reports would have."""
    begin = timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    limits = {limit.tier_id: limit for limit in RateLimit.objects.filter(tier__isnull=False, unit="tokens")}
    used = KeyUsage.objects.filter(user__in=users, created_at__gte=begin).values_list("user__tier", "user")
    amounts = {
        limits[tier_id].budget(owner_of_user(user_id)): amount
        for tier_id, user_id, amount in used.annotate(amount=Sum("tokens_used")).exclude(amount=None)
    }
    with transaction.atomic():
        charge_reports(amounts)


Limits = dict[tuple[int | None, str], RateLimit]


def new_events(key: APIKey, limits: Limits, rng: random.Random) -> Iterator[KeyUsage]:
    today = timezone.now()
    per_day = rng.lognormvariate(1.4, 0.9)
    client = {
        "ip_address": f"198.51.100.{rng.randint(1, 254)}",
        "user_agent": rng.choice(USER_AGENTS),
        "host": rng.choices(HOSTS, [9, 1])[0],
    }
    for day in range(DAYS):
        date = today - timedelta(days=day)
        busy = 0.4 if date.isoweekday() > 5 else 1.0
        for at in random_times(date, int(rng.gauss(per_day * busy, 1)), rng):
            yield new_event(key, at, limits, rng, **client)


def random_times(date: datetime, number: int, rng: random.Random) -> Iterator[datetime]:
    for hour in rng.choices(range(24), HOUR_WEIGHTS, k=max(number, 0)):
        at = date.replace(hour=hour, minute=rng.randint(0, 59), second=rng.randint(0, 59))
        if at <= timezone.now():
            yield at


def new_event(key: APIKey, at: datetime, limits: Limits, rng: random.Random, **client: str) -> KeyUsage:
    method, endpoint, _, path = rng.choices(TRAFFIC, [share for *_, share, _ in TRAFFIC])[0]
    status, reason, _ = rng.choices(VERDICTS, [share for *_, share in VERDICTS])[0]
    outcome: dict[str, Any] = {}
    limit = limits[key.user.tier_id, path]
    if not reason:
        status = rng.choices([200, 404, 500], [970, 22, 8])[0]
        outcome = {
            "rate_limit": limit,
            "response_time_ms": int(rng.lognormvariate(3.6, 0.6)),
            "tokens_used": rng.randint(0, 800),
            "reported_at": at,
        }
    elif reason == "rate_limited":
        wait = rng.randint(1, limit.period)
        outcome = {
            "rate_limit": limit,
            "denied_by": {"name": limit.name, "rate": limit.in_words, "retry_after": wait},
        }
    return KeyUsage(
        id=uuid7(at),
        created_at=at,
        api_key=key,
        user_id=key.user_id,
        endpoint=endpoint,
        method=method,
        status_code=status,
        reason=reason,
        **client,
        **outcome,
    )


def set_last_use(key: APIKey, events: list[KeyUsage]) -> None:
    if events:
        last = max(events, key=lambda event: event.created_at)
        APIKey.objects.filter(pk=key.pk).update(
            last_used_at=last.created_at, secret_last_used_at=last.created_at, last_used_ip=last.ip_address
        )
