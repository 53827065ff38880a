"""Sample usage: three months of plausible requests that grow in number, and a key that fails."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey, KeyUsage
from config.base.models import uuid7
from ratelimits.models import RateLimit
from ratelimits.rules import owner_of_user
from ratelimits.stores.balances import charge_reports

DAYS = 92
BATCH = 2_000
DOMAIN = "demo.example"
HOSTS = (f"api.{DOMAIN}", f"sandbox.{DOMAIN}")
MICROCENTS_PER_TOKEN = 1_000
FAILURES = 60
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
USER_AGENTS = ["python-requests/2.32", "okhttp/4.12", "axios/1.7", "Go-http-client/2.0", "curl/8.9"]
# Weight of each hour of the day, in UTC.
HOUR_WEIGHTS = [1, 1, 1, 1, 2, 3, 5, 8, 12, 15, 16, 15, 13, 15, 17, 17, 15, 12, 9, 7, 5, 4, 3, 2]


def create_usage(keys: list[APIKey], rng: random.Random) -> int:
    created = 0
    limits = {(limit.tier_id, limit.path): limit for limit in RateLimit.objects.live().order_by("-period")}
    for key in keys:
        if rng.random() < 0.8:
            events = list(new_events(key, limits, rng))
            KeyUsage.objects.bulk_create(events, batch_size=BATCH)
            set_last_use(key, events)
            created += len(events)
    return created + create_failures(keys[0], rng) if keys else created


def create_failures(key: APIKey, rng: random.Random) -> int:
    """Someone deployed a wrong path: most of the key's requests of this day are denied."""
    now = timezone.now()
    times = [now - timedelta(minutes=rng.uniform(1, 600)) for _ in range(FAILURES)]
    KeyUsage.objects.bulk_create(
        KeyUsage(
            id=uuid7(at),
            created_at=at,
            api_key=key,
            user_id=key.user_id,
            host=HOSTS[0],
            endpoint="/invoices/2026",
            method="GET",
            status_code=403,
            reason="permission_denied",
            ip_address="198.51.100.20",
            user_agent=USER_AGENTS[0],
        )
        for at in times
    )
    return FAILURES


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
    per_day = rng.lognormvariate(1.3, 0.9)
    client = {
        "ip_address": f"198.51.100.{rng.randint(1, 254)}",
        "user_agent": rng.choice(USER_AGENTS),
        "host": rng.choices(HOSTS, [9, 1])[0],
    }
    for day in range(DAYS):
        date = today - timedelta(days=day)
        busy = 0.4 if date.isoweekday() > 5 else 1.0
        growth = 1 - 0.7 * day / DAYS
        for at in random_times(date, int(rng.gauss(per_day * busy * growth, 1)), rng):
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
        tokens = rng.randint(0, 800)
        outcome = {
            "rate_limit": limit,
            "response_time_ms": int(rng.lognormvariate(3.6, 0.6)),
            "tokens_used": tokens,
            "cost_microcents": tokens * MICROCENTS_PER_TOKEN,
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
