"""Requests of the last hours or days for the overview: totals, the trend, a chart, and who and what was busiest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from accounts.staff.headroom import Used, near_quota
from apikeys.models import APIKey
from apikeys.models.usage import verdict_in_words
from apikeys.usage.analytics import SumsRow, TimeRange, UsageScope, sums_by
from apikeys.usage.busiest import Busiest, Busy, busiest
from apikeys.usage.request_links import RequestLinks
from apikeys.usage.rollups import HOUR, floor_to_hour
from config.base.charts import Figure
from config.base.hosts import WILDCARD
from ratelimits.models import RateLimit
from tiers.models import Tier

MAX_LISTED = 5
# Check the quotas of this many of the busiest users.
MAX_ACTIVE = 300
MAX_NEAR = 100
# Reasons with a color of their own in the chart; the rest are added up.
MAX_REASONS = 4
OTHER = "Other reasons"
# Path and host where no rate limit decided.
NO_PLACE = ("", "")
# Shown for a rate limit without a host if others on its path have one.
ANY_HOST = "any host"
LINKS = RequestLinks("usage:staff_requests", {})


@dataclass(frozen=True)
class Period:
    name: str
    days: int
    label: str

    @property
    def is_by_hour(self) -> bool:
        return self.days == 1

    @property
    def time_range(self) -> TimeRange:
        """By day, it includes today; by hour, this hour."""
        if not self.is_by_hour:
            return TimeRange.of_last_days(self.days)
        end = floor_to_hour(timezone.now()) + HOUR
        return TimeRange(end - 24 * HOUR, end)

    @property
    def earlier(self) -> TimeRange:
        """As long as the part of `time_range` that's over, right before it."""
        start, end = self.time_range
        length = timedelta(days=self.days)
        return TimeRange(start - length, min(end, floor_to_hour(timezone.now()) + HOUR) - length)


PERIODS = {
    period.name: period
    for period in (Period("24h", 1, "24 hours"), Period("7d", 7, "7 days"), Period("30d", 30, "30 days"))
}


@dataclass(frozen=True)
class Trend:
    """A figure, and how it compares to the period before."""

    label: str
    value: int
    before: int
    url: str

    @property
    def change(self) -> str:
        if not self.before:
            return "none before" if self.value else "as many as before"
        percent = round(100 * (self.value - self.before) / self.before)
        if not percent:
            return "as many as before"
        return f"{abs(percent):,}% {'more' if percent > 0 else 'fewer'} than before"


@dataclass(frozen=True)
class Traffic:
    period: Period
    rows: list[SumsRow]
    earlier: list[SumsRow]
    busiest: Busiest

    @property
    def total(self) -> int:
        return sum(sums.requests for _, sums in self.rows)

    @property
    def denied(self) -> int:
        return sum(sums.denied for _, sums in self.rows)

    @property
    def denied_before(self) -> int:
        return sum(sums.denied for _, sums in self.earlier)

    def trends(self) -> list[Trend]:
        before = sum(sums.requests for _, sums in self.earlier)
        start, end = self.period.time_range
        return [
            Trend("requests", self.total, before, LINKS.url(start, end)),
            Trend(
                "allowed",
                self.total - self.denied,
                before - self.denied_before,
                LINKS.url(start, end, verdict="allowed"),
            ),
            Trend("denied", self.denied, self.denied_before, LINKS.url(start, end, verdict="denied")),
        ]


def traffic(period: Period) -> Traffic:
    unit = "hour" if period.is_by_hour else "day"
    rows = sums_by((unit, "reason", "limit"), UsageScope(), period.time_range)
    earlier = sums_by(("reason", "limit"), UsageScope(), period.earlier)
    return Traffic(period, rows, earlier, busiest(period.time_range, MAX_LISTED, users=MAX_ACTIVE))


def near_quota_of_active() -> list[Used]:
    """Quotas that are nearly used up, among the users with the most requests in the last 24 hours."""
    return near_quota(active_users(busiest(PERIODS["24h"].time_range, 0, users=MAX_ACTIVE)))[:MAX_NEAR]


def active_users(found: Busiest) -> QuerySet[User]:
    users: QuerySet[User] = User.objects.live().filter(pk__in=[line.pk for line in found.users])
    return users.select_related("tier")


def chart(found: Traffic) -> dict[str, Any]:
    """Allowed requests and denials by reason for each hour or day, with links to them; nothing if there are none."""
    if not found.total:
        return {}
    counts: Counter[tuple[Any, str]] = Counter()
    frequent = frequent_reasons(found)
    for (slot, reason, _), sums in found.rows:
        counts[slot, reason if reason in frequent or not reason else OTHER] += sums.requests
    kinds = ["", *frequent, *([OTHER] if any(kind == OTHER for _, kind in counts) else [])]
    slots = slots_of(found.period)
    figures: list[Figure] = [(label, *(counts[slot, kind] for kind in kinds)) for slot, label in slots]
    return {
        "figures": figures,
        "names": [verdict_in_words(kind) for kind in kinds],
        "urls": [[LINKS.slot_url(slot, verdict=verdict(kind)) for kind in kinds] for slot, _ in slots],
    }


def frequent_reasons(found: Traffic) -> list[str]:
    denials: Counter[str] = Counter()
    for (_, reason, _), sums in found.rows:
        denials[reason] += sums.denied
    return [reason for reason, count in denials.most_common(MAX_REASONS) if count]


def verdict(kind: str) -> str:
    return {"": "allowed", OTHER: "denied"}.get(kind, kind)


def slots_of(period: Period) -> list[tuple[Any, str]]:
    start, _ = time_range = period.time_range
    if period.is_by_hour:
        return [(hour, hour_label(hour, start)) for hour in time_range.hours]
    return [(day, f"{day:%-d %b}") for day in time_range.days]


def hour_label(hour: datetime, start: datetime) -> str:
    return f"{hour:%H:%M}" if hour.date() != start.date() else f"{hour:%-d %b %H:%M}"


# --- Who and what was busiest ---


@dataclass(frozen=True)
class TopLine:
    label: str
    requests: int
    denied: int
    url: str = ""
    note: str = ""


@dataclass(frozen=True)
class TopList:
    title: str
    lines: list[TopLine]


def top_lists(found: Traffic) -> list[TopList]:
    keys = APIKey.objects.select_related("user").in_bulk([line.pk for line in found.busiest.keys])
    busy_users = found.busiest.users[:MAX_LISTED]
    users = User.objects.in_bulk([line.pk for line in busy_users])
    tiers = Tier.objects.in_bulk([line.pk for line in found.busiest.tiers])
    return [
        TopList("Endpoints", endpoints(found)),
        TopList("Users", list(lines(busy_users, users, "user", lambda user: user.username))),
        TopList("API keys", list(lines(found.busiest.keys, keys, "key", lambda key: key.pk))),
        TopList("Tiers", list(lines(found.busiest.tiers, tiers, "tier", lambda tier: tier.pk))),
    ]


def lines(busy: Iterable[Busy], rows: dict[Any, Any], name: str, value: Any) -> Iterable[TopLine]:
    for pk, requests, denied in busy:
        row = rows.get(pk)
        if row is None:
            yield TopLine("removed", requests, denied)
        else:
            url = f"{reverse('usage:staff')}?{urlencode({name: value(row)})}"
            yield TopLine(row_label(row), requests, denied, url, str(row.user) if isinstance(row, APIKey) else "")


def row_label(row: Any) -> str:
    return str(row.name) if isinstance(row, APIKey) else str(row)


def endpoints(found: Traffic) -> list[TopLine]:
    """The busiest endpoints, by the path and the host of the rate limit that decided, on any tier."""
    limits = RateLimit.objects.filter(pk__in={limit for (*_, limit), _ in found.rows if limit})
    places = {pk: (path, host) for pk, path, host in limits.values_list("pk", "path", "host")}
    requests: Counter[tuple[str, str]] = Counter()
    denied: Counter[tuple[str, str]] = Counter()
    for (*_, limit), sums in found.rows:
        place = places.get(limit, NO_PLACE)
        requests[place] += sums.requests
        denied[place] += sums.denied
    with_hosts = {path for path, host in requests if host}
    return [
        TopLine(
            path or "no rate limit",
            count,
            denied[path, host],
            requests_url(found, path, host, [pk for pk, place in places.items() if place == (path, host)]),
            host or (ANY_HOST if path in with_hosts else ""),
        )
        for (path, host), count in requests.most_common(MAX_LISTED)
    ]


def requests_url(found: Traffic, path: str, host: str, limits: Sequence[int]) -> str:
    """limits: those with this path and host. The log can show exactly the requests of one."""
    if not path:
        return ""
    start, end = found.period.time_range
    if len(limits) == 1:
        return LINKS.url(start, end, limit=str(limits[0]))
    # The log has no filter for a wildcard.
    of_host = {} if not host or host.startswith(WILDCARD) else {"host": host}
    return LINKS.url(start, end, **{"path": path} | of_host)
