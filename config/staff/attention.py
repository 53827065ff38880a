"""What needs the attention of staff: each with a link to what it's about."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from django.db.models import Count, Q, Sum
from django.urls import reverse
from django.utils import timezone

from accounts.staff.headroom import NEAR, near_quota
from apikeys.jobs import schedule
from apikeys.models import APIKey, GatewayTest
from apikeys.pages import hygiene
from config.base.text import counted
from config.staff.traffic import LINKS, Traffic, active_users
from ratelimits.models import Denial, Outage

EXPIRING = timedelta(days=7)
# Denials are up if there are at least this many, and 50% more than the day before.
MIN_DENIALS, GROWTH = 20, 1.5
SIGN_IN = Q(owner__startswith="sign-in")
MAX_NAMED = 3


class Item(NamedTuple):
    """level: danger or warn."""

    text: str
    url: str
    level: str = "warn"


def attention(user: Any, found: Traffic | None) -> list[Item]:
    items: list[Item] = []
    if user.has_perm("ratelimits.view_ratelimit"):
        items += [*outages(), *rate_limited()]
    if user.has_perm("apikeys.view_apikey"):
        items += [*failed_self_tests(), *expiring_keys()]
    if user.has_perm("ratelimits.view_ratelimit") and found is not None:
        items += near_their_quota(found)
    if user.has_perm("apikeys.view_job"):
        items += jobs()
    if found is not None:
        items += [*more_denials(found), *failing_keys(found)]
    return items


def outages() -> Iterator[Item]:
    outage = Outage.objects.filter(ended_at__isnull=True).first()
    if outage is not None:
        yield Item(
            f"The rate limit store ({outage.store}) is unavailable.", reverse("ratelimits:limited_now"), "danger"
        )


def rate_limited() -> Iterator[Item]:
    found = Denial.objects.recent().filter(observed=False)
    counts = found.aggregate(
        owners=Count("owner", distinct=True, filter=~SIGN_IN),
        requests=Sum("count", filter=~SIGN_IN),
        sign_ins=Count("owner", distinct=True, filter=SIGN_IN),
    )
    url = reverse("ratelimits:limited_now")
    if counts["owners"]:
        who = counted(counts["owners"], "user or address is", "users and addresses are")
        yield Item(f"{who} rate limited: {counted(counts['requests'], 'request')} denied.", url)
    if counts["sign_ins"]:
        yield Item(
            f"Sign-in is throttled for {counted(counts['sign_ins'], 'user or address', 'users and addresses')}.", url
        )


def near_their_quota(found: Traffic) -> Iterator[Item]:
    users = {used.user.pk for used in near_quota(active_users(found.busiest))}
    if users:
        text = f"{counted(len(users), 'user')} used {NEAR}% or more of a quota."
        yield Item(text, f"{reverse('ratelimits:limited_now')}#near")


def failed_self_tests() -> Iterator[Item]:
    for test in GatewayTest.objects.filter(passed=False)[:MAX_NAMED]:
        yield Item(f"The last self-test of {test.host} failed.", reverse("tools:connect"), "danger")


def jobs() -> Iterator[Item]:
    known = list(schedule.rows())
    overdue = [job.name for job in known if job.is_overdue(schedule.GRACE)]
    failed = [job.name for job in known if job.is_ok is False and job.name not in overdue]
    for title, names in (("Overdue", overdue), ("Failed", failed)):
        if names:
            yield Item(f"{title} jobs: {', '.join(names)}.", reverse("jobs:list"), "danger")


def expiring_keys() -> Iterator[Item]:
    number = hygiene.active().filter(expires_at__lte=timezone.now() + EXPIRING).count()
    if number:
        text = counted(number, "API key expires", "API keys expire")
        yield Item(f"{text} in the next 7 days.", f"{reverse('staff_keys:hygiene')}?show=expiring")


def more_denials(found: Traffic) -> Iterator[Item]:
    now, before = found.denied, found.denied_before
    if now >= MIN_DENIALS and now > before * GROWTH:
        text = f"{now:,} requests denied in the last {found.period.label}, up from {before:,} in the {found.period.label} before."
        yield Item(text, LINKS.url(*found.period.time_range, verdict="denied"))


def failing_keys(found: Traffic) -> Iterator[Item]:
    failing = found.busiest.failing[:MAX_NAMED]
    keys = APIKey.objects.in_bulk([line.pk for line in failing])
    for pk, requests, denied in failing:
        if pk in keys:
            text = f"API key {keys[pk].name}: {denied:,} of {counted(requests, 'request')} denied."
            yield Item(text, LINKS.url(*found.period.time_range, key=str(pk), verdict="denied"))
