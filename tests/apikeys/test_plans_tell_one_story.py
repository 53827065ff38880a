"""Every part of a plan at once: decisions, their headers, Explain, the match tester and both pages of limits say the same."""

from __future__ import annotations

import json
from datetime import timedelta
from html.parser import HTMLParser

import http_sfv
import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apikeys.services import issue_key
from config.base.history import Author
from ratelimits.models import RateLimit
from ratelimits.rules import forget_rules
from tests.rows import make_key, make_limit, make_own_limit
from tiers.models import Tier, TierAccess

LIVE, SANDBOX = "api.example.com", "sandbox.example.com"
DAY = 86_400
# Cells of a line: what it counts, its rate, where it comes from, what remains and when it resets.
REQUESTS, RATE, SOURCE, REMAINING, RESETS = range(5)
NEVER = "2147483647"


class TableReader(HTMLParser):
    """The cells of the rows of each table, by the table's label."""

    def __init__(self):
        super().__init__()
        self.tables, self.label, self.cell = {}, "", None

    def handle_starttag(self, tag, attributes):
        if tag == "div":
            self.label = dict(attributes).get("aria-label", self.label)
        elif tag == "tr":
            self.tables.setdefault(self.label, []).append([])
        elif tag == "td":
            self.cell = []

    def handle_data(self, data):
        if self.cell is not None:
            self.cell.append(data)

    def handle_endtag(self, tag):
        if tag == "td":
            self.tables[self.label][-1].append(" ".join(" ".join(self.cell).split()))
            self.cell = None


def lines_on(page, label):
    """The lines of rate limits in the table with this label, by what they count and their rate."""
    reader = TableReader()
    reader.feed(page.content.decode())
    rows = [row[:5] for row in reader.tables.get(label, []) if row]
    found = {(row[REQUESTS], row[RATE]): row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture
def pro(db):
    tier = Tier.objects.create(name="pro", max_keys=1, max_key_days=90)
    tier.access.all().delete()
    for action, resource in (("read", "/orders/*"), ("read", "/reports")):
        TierAccess.objects.create(tier=tier, action=action, resource=resource, host="*.example.com")
    make_limit(tier, "/orders/{id}", name="of the tier", method="GET", host=LIVE, limit=9, window="fixed", period=DAY)
    make_limit(tier, "/orders/*", name="orders", limit=50, window="week")
    make_limit(tier, "/*", name="plan", limit=1000, window="month", overall=True)
    make_limit(tier, "/*", name="tokens", limit=5000, window="month", unit="tokens", overall=True)
    make_limit(tier, "/orders/{id}", name="watch", limit=2, window="month", overall=True, mode="observe")
    return tier


@pytest.fixture
def holder(pro, alice, counters):
    """Alice on the tier, with an exception that ends, prepaid tokens, and the last day of the month as her billing day."""
    alice.tier, alice.billing_day = pro, 31
    alice.save()
    make_own_limit(alice, "/orders/{number}", name="exception", method="GET", host=LIVE, limit=3, window="fixed",
                   period=DAY, ends_at=timezone.now() + timedelta(days=40))  # fmt: skip
    make_own_limit(alice, "/orders/*", name="prepaid", limit=100, unit="tokens", window="total", overall=True)
    return alice


@pytest.fixture
def key(holder):
    return make_key(holder, "nightly", rate_limit=20, rate_window="week", rate_period=7 * DAY,
                    expires_at=timezone.now() + timedelta(days=30))  # fmt: skip


class Story:
    """One request, as everybody tells it."""

    def __init__(self, key, staff, ask, *, host=LIVE, path="/orders/5"):
        self.key, self.staff, self.ask_gateway, self.host, self.path = key, staff, ask, host, path
        self.owner = Client()
        self.owner.force_login(key.user)

    def decide(self):
        return self.ask_gateway(self.key.secret, uri=self.path, **{"X-Original-Host": self.host})

    def explain(self):
        question = {"key": str(self.key.pk), "method": "GET", "path": self.path, "host": self.host}
        return self.staff.post(reverse("tools:explain"), question)

    def tester(self):
        question = {"method": "GET", "path": self.path, "host": self.host, "tier": "", "user": self.key.user.username}
        return self.staff.get(reverse("ratelimits:match_tester"), question)

    def check(self):
        """Compare the pages. Returns the lines that Explain has."""
        explained = lines_on(self.explain(), "Rate limits")
        tested = lines_on(self.tester(), "Remaining requests")
        of_user = lines_on(self.staff.get(f"/users/{self.key.user_id}/"), "Effective rate limits")
        of_owner = lines_on(self.owner.get("/account/limits/"), "Rate limits")
        with_key = {name: row for name, row in explained.items() if row[SOURCE].startswith("Key")}
        assert tested == {name: row for name, row in explained.items() if name not in with_key}
        assert {name: of_user[name] for name in explained} == explained
        told = {name: row for name, row in explained.items() if "observe only" not in row[RATE]}
        assert {name: without_source(of_owner[name]) for name in told} == {
            name: without_source(row) for name, row in told.items()
        }
        assert not any("observe only" in row[RATE] for row in of_owner.values())
        return explained

    def check_headers(self, response):
        """Compare the headers of a decision with Explain's figures."""
        states = self.explain().context["explanation"].limits
        told = http_sfv.List()
        told.parse(response["RateLimit"].encode())
        said = {item.value: item.params for item in told}
        enforced = {state.budget.name: state for state in states if not state.budget.observe}
        assert {name: figures["r"] for name, figures in said.items()} == {
            name: state.remaining for name, state in enforced.items()
        }
        for name, figures in said.items():
            assert ("t" in figures) == (enforced[name].budget.window != "total")
            assert abs(figures.get("t", 0) - enforced[name].reset_after) <= 60
        for name in ("Limit", "Remaining", "Reset"):
            assert response[f"X-RateLimit-{name}"].isdigit()


def without_source(row):
    return [cell for number, cell in enumerate(row) if number != SOURCE]


@pytest.fixture
def story(key, staff_client, ask):
    return Story(key, staff_client, ask)


def test_one_request_is_told_alike_everywhere(story):
    response = story.decide()
    assert response.status_code == 200
    lines = story.check()
    assert {tuple(row[:4]) for row in lines.values()} == {
        ("GET /orders/{number} on api.example.com", "3 per day (UTC) ends in 40 days", "Own exception", "2 of 3"),
        ("/*", "1,000 per month overall", "Tier pro plan", "999 of 1,000"),
        ("/*", "5,000 tokens per month overall", "Tier pro tokens", "5,000 of 5,000 tokens"),
        ("/orders/{id}", "2 per month overall observe only", "Tier pro watch", "1 of 2"),
        ("/orders/*", "100 tokens in total overall", "Own prepaid", "100 of 100 tokens"),
        ("Everything with this key", "20 per week", "Key nightly", "19 of 20"),
    }
    assert lines["/orders/*", "100 tokens in total overall"][RESETS] == "never"
    story.check_headers(response)
    assert response["X-RateLimit-Limit"] == "3"


def test_another_host_has_other_limits_on_every_page(story):
    story.decide()
    elsewhere = Story(story.key, story.staff, story.ask_gateway, host=SANDBOX)
    response = elsewhere.decide()
    lines = elsewhere.check()
    assert lines["/orders/*", "50 per week"][REMAINING] == "49 of 50"
    assert lines["/*", "1,000 per month overall"][REMAINING] == "998 of 1,000"
    assert ("GET /orders/{number} on api.example.com", "3 per day (UTC) ends in 40 days") not in lines
    elsewhere.check_headers(response)


def test_a_used_up_limit_is_told_alike_and_costs_nothing_elsewhere(story):
    for _ in range(3):
        assert story.decide().status_code == 200
    denied = story.decide()
    assert (denied.status_code, denied["X-Auth-Status"]) == (403, "429")
    assert denied["X-RateLimit-Remaining"] == "0"
    lines = story.check()
    assert lines["GET /orders/{number} on api.example.com", "3 per day (UTC) ends in 40 days"][REMAINING] == (
        "0 of 3 none left"
    )
    assert lines["Everything with this key", "20 per week"][REMAINING] == "17 of 20"
    assert lines["/orders/{id}", "2 per month overall observe only"][REMAINING] == "0 of 2 none left"
    story.check_headers(denied)
    explanation = story.explain().context["explanation"]
    assert (explanation.status, explanation.reason) == (429, "rate_limited")


def test_reported_tokens_are_told_alike_until_a_top_up(story, client):
    event = story.decide()["X-Auth-Event-Id"]
    report = {"events": [{"event_id": event, "tokens_used": 130}]}
    assert client.post("/authz/usage", json.dumps(report), content_type="application/json").status_code == 200
    lines = story.check()
    assert lines["/orders/*", "100 tokens in total overall"][REMAINING] == "0 of 100 tokens none left"
    assert lines["/*", "5,000 tokens per month overall"][REMAINING] == "4,870 of 5,000 tokens"
    denied = story.decide()
    assert (denied["X-Auth-Status"], denied["Retry-After"]) == ("429", str(DAY))
    assert [denied[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")] == ["100", "0", NEVER]
    story.check_headers(denied)
    call_command("top_up", story.key.user.username, "prepaid", "50", verbosity=0)
    assert story.decide().status_code == 200
    assert story.check()["/orders/*", "150 tokens in total overall"][REMAINING] == "20 of 150 tokens"


def test_when_the_exception_ends_the_tier_is_told_again(story):
    story.decide()
    RateLimit.objects.filter(name="exception").update(ends_at=timezone.now() - timedelta(seconds=1))
    assert story.decide().status_code == 200
    line = story.check()["GET /orders/{id} on api.example.com", "9 per day (UTC)"]
    assert line[SOURCE:RESETS] == ["Tier pro of the tier", "8 of 9"]


def test_an_exception_that_only_observes_hides_the_limit_that_it_replaces(story):
    RateLimit.objects.filter(name="exception").update(mode="observe")
    response = story.decide()
    lines = story.check()
    assert not any("GET /orders/{id}" in requests for requests, _ in lines)
    assert "exception" not in response["RateLimit"]
    assert "/orders/{id}" not in story.owner.get("/account/limits/").content.decode()
    assert "/orders/{id}" not in story.owner.get("/account/").content.decode()


@pytest.mark.parametrize(("path", "host"), [("/users", LIVE), ("/orders/5", "example.org"), ("/orders/5", "")])
def test_what_the_tier_does_not_list_is_denied_alike(story, path, host):
    other = Story(story.key, story.staff, story.ask_gateway, path=path, host=host)
    assert other.decide().status_code == 403
    explanation = other.explain().context["explanation"]
    assert (explanation.status, explanation.reason) == (403, "tier_denied")


def test_the_tier_holds_keys_to_its_policy(holder, key):
    with pytest.raises(ValidationError, match="The tier “pro” allows 1 key per user"):
        issue_key(holder, Author(holder), name="second", expires_at=timezone.now() + timedelta(days=1))


def test_requests_without_a_key_are_told_alike(story, settings):
    anonymous = Tier.objects.create(name="anonymous")
    make_limit(anonymous, "/*", name="per address", limit=2, window="fixed", period=DAY)
    make_limit(anonymous, "/*", name="tokens of nobody", limit=5, unit="tokens", window="month", overall=True)
    forget_rules()
    settings.ANONYMOUS_TIER = "anonymous"
    asked = {"method": "GET", "path": "/orders/5", "host": LIVE, "address": "203.0.113.9"}
    for remaining in ("1", "0", "0"):
        response = story.ask_gateway(uri="/orders/5", **{"X-Original-Host": LIVE})
        lines = lines_on(story.staff.post(reverse("tools:explain"), asked), "Rate limits")
        assert (response["X-RateLimit-Limit"], response["X-RateLimit-Remaining"]) == ("2", remaining)
        row = lines["/*", "2 per day (UTC)"]
        assert row[SOURCE] == "Tier anonymous per address"
        assert row[REMAINING].startswith(f"{remaining} of 2")
    assert response["X-Auth-Status"] == "429"
    assert (
        story.check()["GET /orders/{number} on api.example.com", "3 per day (UTC) ends in 40 days"][REMAINING]
        == "3 of 3"
    )
