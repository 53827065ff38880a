"""Sample data to look around in: accounts, tiers, limits, keys, and a month of plausible usage.

Names are fixed, the random source is seeded, and what exists is left alone: a second run adds nothing. Nobody can sign in
as a demo account, and the secret of a demo key is thrown away as soon as it is hashed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey, KeyPermission, KeyUsage
from apikeys.secrets import new_secret
from apikeys.services import stored_form
from config.base.models import uuid7
from ratelimits.models import RateLimit
from tiers.models import Tier

USERS, KEYS, DAYS = 200, 300, 30
BATCH = 2_000
DOMAIN = "demo.example"
# Tier, what it is for, and the factor by which its limits exceed those of the first.
TIERS = [
    ("free", "For trying things out.", 1),
    ("basic", "For a side project.", 5),
    ("pro", "For a product with customers.", 20),
    ("enterprise", "For those who call us on the phone.", 100),
]
# Method, pattern, limit on the first tier, period, window.
LIMITS = [
    ("", "/*", 60, 60, "rolling"),
    ("GET", "/orders/{id}", 30, 60, "rolling"),
    ("POST", "/orders", 10, 60, "rolling"),
    ("POST", "/search", 5, 10, "rolling"),
    ("GET", "/reports/*", 100, 86_400, "fixed"),
    ("", "/*", 10_000, 2_678_400, "month"),
]
# Method, endpoint, share of the traffic.
TRAFFIC = [
    ("GET", "/orders", 30),
    ("GET", "/orders/1042", 25),
    ("GET", "/products/17", 18),
    ("POST", "/search", 9),
    ("POST", "/orders", 8),
    ("GET", "/reports/daily", 6),
    ("GET", "/customers/88", 3),
    ("DELETE", "/orders/1042", 1),
]
# Status, reason, share.
ANSWERS = [(200, "", 940), (429, "rate_limited", 35), (403, "permission_denied", 15), (401, "expired_key", 10)]
FIRST = "Ada Alan Barbara Carl Chen Dana Edsger Elena Farid Grace Hedy Ines Jun Katya Leslie Mina Noor Olu Priya Radia".split()
LAST = "Abebe Berg Castro Dubois Eriksen Fischer Garcia Haddad Ito Jansen".split()
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
AGENTS = ["python-requests/2.32", "okhttp/4.12", "axios/1.7", "Go-http-client/2.0", "curl/8.9"]
# Requests by hour of the day, UTC: quiet nights, a busy afternoon.
HOURS = [1, 1, 1, 1, 2, 3, 5, 8, 12, 15, 16, 15, 13, 15, 17, 17, 15, 12, 9, 7, 5, 4, 3, 2]


def fill() -> dict[str, int]:
    """Make what is missing; returns how many rows of each kind were made."""
    chance = random.Random(2026)
    with transaction.atomic():
        tiers = [make_tier(name, description) for name, description, _ in TIERS]
        limits = make_limits(tiers)
        users = make_users(tiers, chance)
        keys = make_keys(users, chance)
    events = make_usage(keys, chance)
    return {"rate limits": limits, "accounts": len(users), "keys": len(keys), "usage events": events}


def make_tier(name: str, description: str) -> Tier:
    tier: Tier = Tier.objects.live().get_or_create(name=name, defaults={"description": description})[0]
    return tier


def make_limits(tiers: list[Tier]) -> int:
    made: int = 0
    for tier, (name, _, factor) in zip(tiers, TIERS, strict=True):
        for number, (method, path, limit, period, window) in enumerate(LIMITS, start=1):
            values = {"tier": tier, "method": method, "path": path, "period": period, "window": window}
            defaults = values | {"limit": limit * factor}
            made += RateLimit.objects.get_or_create(name=f"{name}-{number}", defaults=defaults)[1]
    observed = {"tier": tiers[0], "method": "GET", "path": "/customers/*", "limit": 20, "mode": RateLimit.Mode.OBSERVE}
    made += RateLimit.objects.get_or_create(name="free-customers-trial", defaults=observed)[1]
    return made


def make_users(tiers: list[Tier], chance: random.Random) -> list[User]:
    if User.objects.filter(email__endswith=f"@{DOMAIN}").exists():
        return []
    names = [f"{first} {last}" for last in LAST for first in FIRST]
    chance.shuffle(names)
    users = [make_user(name, tiers, chance) for name in names[:USERS]]
    User.objects.bulk_create(users)
    return users


def make_user(name: str, tiers: list[Tier], chance: random.Random) -> User:
    username = name.lower().replace(" ", "_")
    now = timezone.now()
    joined = now - timedelta(days=DAYS + chance.expovariate(1 / 150))
    return User(
        name=name,
        username=username,
        email=f"{username}@{DOMAIN}",
        password=make_password(None),
        tier=chance.choices(tiers, [60, 25, 12, 3])[0],
        is_active=chance.random() > 0.03,
        created_at=joined,
        last_login=now - timedelta(days=chance.expovariate(1 / 9)),
        deleted_at=now - timedelta(days=2) if chance.random() < 0.03 else None,
    )


def make_keys(users: list[User], chance: random.Random) -> list[APIKey]:
    if not users:
        return []
    keys = [make_key(user, chance) for user in chance.choices(users, k=KEYS)]
    APIKey.objects.bulk_create(keys)
    KeyPermission.objects.bulk_create(permission for key in keys for permission in permissions_of(key, chance))
    return keys


def make_key(user: User, chance: random.Random) -> APIKey:
    now = timezone.now()
    created = now - timedelta(days=chance.uniform(1, 200))
    key = APIKey(
        id=uuid7(created),
        user=user,
        name=chance.choice(PURPOSES),
        created_at=created,
        **stored_form(new_secret()),
    )
    fate = chance.random()
    if fate < 0.04:
        key.revoked_at, key.revoked_reason = now - timedelta(days=3), "Found in a public repository."
    elif fate < 0.07:
        key.is_active = False
    elif fate < 0.5:
        key.expires_at = now + timedelta(days=chance.uniform(-3, 365))
    return key


def permissions_of(key: APIKey, chance: random.Random) -> list[KeyPermission]:
    if chance.random() < 0.4:
        return [KeyPermission(api_key=key, resource="*", action=KeyPermission.Action.ANY)]
    wanted = [
        ("/orders/*", "read"),
        ("/orders/*", "create"),
        ("/products/*", "read"),
        ("/search", "create"),
        ("/reports/*", "read"),
    ]
    chosen = chance.sample(wanted, chance.randint(1, len(wanted)))
    return [KeyPermission(api_key=key, resource=resource, action=action) for resource, action in chosen]


def make_usage(keys: list[APIKey], chance: random.Random) -> int:
    """A month of decisions for four keys in five; the rest were never used."""
    made = 0
    for key in keys:
        if chance.random() < 0.8:
            events = list(events_of(key, chance))
            KeyUsage.objects.bulk_create(events, batch_size=BATCH)
            note_last_use(key, events)
            made += len(events)
    return made


def events_of(key: APIKey, chance: random.Random) -> Iterator[KeyUsage]:
    today = timezone.now()
    a_day = chance.lognormvariate(1.4, 0.9)
    address, agent = f"198.51.100.{chance.randint(1, 254)}", chance.choice(AGENTS)
    for day in range(DAYS):
        date = today - timedelta(days=day)
        busy = 0.4 if date.isoweekday() > 5 else 1.0
        for at in moments(date, int(chance.gauss(a_day * busy, 1)), chance):
            yield event(key, at, address, agent, chance)


def moments(date: datetime, number: int, chance: random.Random) -> Iterator[datetime]:
    """So many times of that day, but none that is still to come."""
    for hour in chance.choices(range(24), HOURS, k=max(number, 0)):
        at = date.replace(hour=hour, minute=chance.randint(0, 59), second=chance.randint(0, 59))
        if at <= timezone.now():
            yield at


def event(key: APIKey, at: datetime, address: str, agent: str, chance: random.Random) -> KeyUsage:
    method, endpoint, _ = chance.choices(TRAFFIC, [share for *_, share in TRAFFIC])[0]
    status, reason, _ = chance.choices(ANSWERS, [share for *_, share in ANSWERS])[0]
    outcome: dict[str, Any] = {}
    if not reason:
        status = chance.choices([200, 404, 500], [970, 22, 8])[0]
        outcome = {"response_time_ms": int(chance.lognormvariate(3.6, 0.6)), "tokens_used": chance.randint(0, 800)}
    return KeyUsage(
        id=uuid7(at),
        created_at=at,
        api_key=key,
        user_id=key.user_id,
        endpoint=endpoint,
        method=method,
        status_code=status,
        reason=reason,
        ip_address=address,
        user_agent=agent,
        **outcome,
    )


def note_last_use(key: APIKey, events: list[KeyUsage]) -> None:
    if events:
        last = max(events, key=lambda event: event.created_at)
        APIKey.objects.filter(pk=key.pk).update(
            last_used_at=last.created_at, secret_last_used_at=last.created_at, last_used_ip=last.ip_address
        )
