"""Sample data: users, tiers, rate limits, API keys, their history, and three months of plausible usage.

Names are fixed and the random numbers are seeded. Existing rows stay as they are, so a second run adds nothing. Nobody can
sign in as a demo user, and nobody knows the secret of a demo key.
"""

from __future__ import annotations

import random
from datetime import timedelta

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey, KeyPermission
from apikeys.secrets import new_secret
from apikeys.services import stored_form
from apikeys.tools.demo_usage import DAYS, DOMAIN, HOSTS, charge_tokens, create_usage
from config.base.access import Permission
from config.base.history import CHANGE, Author, Change
from config.base.models import uuid7
from ratelimits.models import RateLimit
from tiers.models import Tier, TierAccess

USERS, KEYS = 200, 300
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
        Permission("*", "*", HOSTS[1]),
    ],
}
# Method, pattern, limit on the first tier, period, window.
LIMITS = [
    ("", "/*", 60, 60, "rolling"),
    ("GET", "/orders/{id}", 30, 60, "rolling"),
    ("POST", "/orders", 10, 60, "rolling"),
    ("POST", "/search", 5, 10, "rolling"),
    ("GET", "/reports/*", 100, 86_400, "fixed"),
    ("", "/*", 10_000, 2_678_400, "month"),
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


def fill() -> dict[str, int]:
    """Create what is missing; returns how many rows of each kind were created."""
    rng = random.Random(2026)
    with transaction.atomic():
        tiers = [create_tier(name, description) for name, description, _ in TIERS]
        limits = create_limits(tiers)
        users = create_users(tiers, rng)
        limits += create_exceptions(users)
        keys = create_keys(users, rng)
        create_history(users, keys, rng)
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


def create_history(users: list[User], keys: list[APIKey], rng: random.Random) -> None:
    """What the first superuser would have done to the users and keys that aren't as others are."""
    admin = User.objects.filter(is_superuser=True).order_by("pk").first()
    if admin is None:
        return
    past = [
        *((user, [Change(field="active", old="yes", new="no")], "Suspended.") for user in users if not user.is_active),
        *((user, [Change(field="tier", old="free", new="pro")], "") for user in users[10:16]),
        *((key, [], f"Revoked: {key.revoked_reason}") for key in keys if key.revoked_at),
    ]
    for row, changes, note in past:
        entry = Author(admin, via="demo").record(row, CHANGE, changes=changes, note=note)
        entry.action_time = timezone.now() - timedelta(days=rng.uniform(0.1, 20))
        entry.save(update_fields=["action_time"])
