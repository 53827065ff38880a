"""The overview's first steps, and the list of what needs attention."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from apikeys.models import GatewayTest, Job, KeyUsage
from apikeys.tools import views as tools
from apikeys.tools.selftest import Unreachable
from ratelimits.models import Denial, Outage
from tests.apikeys.usage.events import event
from tests.conftest import make_user
from tests.pages import text_of
from tests.rows import make_key, make_limit, make_staff, make_usage

pytestmark = pytest.mark.django_db


HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def items(client, **query):
    return {item.text: item.url for item in client.get("/admin/", query).context["attention"]}


def open_steps(client):
    return [step.title for step in client.get("/admin/").context["steps"] if not step.is_done]


# --- First steps ---


def test_first_steps_are_shown_until_all_are_done(staff_client, free, alice):
    alice.hard_delete()
    steps = ["Create a rate limit", "Create a user", "Create an API key", "Connect a gateway", "Run the self-test"]
    assert open_steps(staff_client) == steps
    make_limit(free)
    key = make_key(make_user("olga"))
    assert open_steps(staff_client) == steps[3:]
    make_usage(key)
    GatewayTest.objects.note("api.example.com", passed=False)
    assert open_steps(staff_client) == steps[4:]
    page = staff_client.get("/admin/")
    assert 'href="/admin/apikeys/connect/">Run the self-test' in text_of(page)
    GatewayTest.objects.note("api.example.com", passed=True)
    assert staff_client.get("/admin/").context["steps"] == []
    assert "First steps" not in text_of(staff_client.get("/admin/"))


def test_steps_without_permission_have_no_link(client, free):
    client.force_login(make_staff("one", "ratelimits.add_ratelimit"))
    page = client.get("/admin/")
    assert [step.title for step in page.context["steps"] if step.url] == ["Create a rate limit"]
    client.force_login(make_staff("two", "tiers.view_tier"))
    assert client.get("/admin/").context["steps"] == []


@pytest.mark.parametrize(("passed", "error"), [(True, None), (False, None), (False, Unreachable("No answer."))])
def test_the_result_of_the_self_test_is_stored(staff_client, monkeypatch, passed, error):
    class Result:
        def __init__(self, passed):
            self.passed = passed

    def run(url, user):
        if error:
            raise error
        return [Result(True), Result(passed)]

    monkeypatch.setattr(tools, "run_self_test", run)
    staff_client.post("/admin/apikeys/connect/test/", {"url": "http://api.example.com:8080/orders"})
    test = GatewayTest.objects.get()
    assert str(test) == f"api.example.com:8080: {'passed' if passed else 'failed'}"
    failed = "The last self-test of api.example.com:8080 failed."
    assert (items(staff_client).get(failed) == "/admin/apikeys/connect/") is not passed


# --- Attention ---


def test_nothing_needs_attention_by_default(staff_client, alice):
    make_usage(make_key(alice))
    assert items(staff_client) == {}
    assert "Needs attention" not in text_of(staff_client.get("/admin/"))


def denial(key, owner, count=1, **fields):
    now = timezone.now()
    values = {"name": "x", "limit": 1, "period": 60, "window": "rolling", "first_at": now, "last_at": now}
    return Denial.objects.create(key=key, owner=owner, count=count, **(values | fields))


def test_rate_limited_users_and_addresses_are_counted(staff_client):
    denial("user:1/a", "user:1", 40)
    denial("user:1/b", "user:1", 2)
    assert items(staff_client) == {
        "1 user or address is rate limited: 42 requests denied.": "/admin/ratelimits/limited/"
    }
    denial("addr:x", "addr:192.0.2.1")
    denial("user:2", "user:2", observed=True)
    denial("user:3", "user:3", last_at=timezone.now() - HOUR)
    assert list(items(staff_client)) == ["2 users and addresses are rate limited: 43 requests denied."]


def test_throttled_sign_ins_are_counted_separately(staff_client):
    denial("sign-in:account:7:addr:192.0.2.1", "sign-in:account:7:addr:192.0.2.1", 5)
    assert list(items(staff_client)) == ["Sign-in is throttled for 1 user or address."]


def test_an_outage_of_the_store_is_listed(staff_client):
    Outage.objects.create(store="redis", node="web-1", error="away", began_at=timezone.now())
    assert list(items(staff_client)) == ["The rate limit store (redis) is unavailable."]


def test_keys_that_expire_this_week_link_to_key_hygiene(staff_client, alice):
    make_key(alice, expires_at=timezone.now() + 2 * DAY)
    make_key(alice, expires_at=timezone.now() + 20 * DAY)
    assert items(staff_client) == {"1 API key expires in the next 7 days.": "/admin/apikeys/hygiene/?show=expiring"}


def test_an_increase_in_denials_links_to_the_requests(staff_client, alice):
    key = make_key(alice, "busy")
    for _ in range(100):
        event(key, HOUR)
    for _ in range(20):
        event(key, 2 * HOUR, status_code=403, reason="permission_denied")
    for _ in range(13):
        event(key, 30 * HOUR, status_code=403, reason="permission_denied")
    (text, url), *others = items(staff_client).items()
    assert text == "20 requests denied in the last 24 hours, up from 13 in the 24 hours before."
    assert others == []
    assert len(staff_client.get(url).context["page"].rows) == 20
    event(key, 30 * HOUR, status_code=403, reason="permission_denied")
    assert items(staff_client) == {}


def test_a_key_with_mostly_denied_requests_is_listed(staff_client, alice):
    key = make_key(alice, "broken")
    for _ in range(20):
        event(key, HOUR, status_code=403, reason="permission_denied")
    found = items(staff_client)
    assert "API key broken: 20 of 20 requests denied." in found
    assert len(staff_client.get(found["API key broken: 20 of 20 requests denied."]).context["page"].rows) == 20
    for _ in range(20):
        event(key, HOUR)
    assert not [text for text in items(staff_client) if "broken" in text]


def test_a_removed_key_is_not_listed(staff_client, alice):
    key = make_key(alice, "broken")
    for _ in range(20):
        event(key, HOUR, status_code=403, reason="permission_denied")
    KeyUsage.objects.update(api_key_id=uuid4())
    assert not [text for text in items(staff_client) if "API key" in text]


def test_overdue_and_failed_jobs_are_listed(staff_client):
    Job.objects.create(name="fold_usage", next_at=timezone.now() - DAY)
    Job.objects.create(name="sweep_counters", next_at=timezone.now() + DAY, is_ok=False)
    Job.objects.create(name="prune_usage", next_at=timezone.now() - DAY)  # no longer scheduled
    assert items(staff_client) == {
        "Overdue jobs: fold_usage.": "/admin/jobs/",
        "Failed jobs: sweep_counters.": "/admin/jobs/",
    }


def test_staff_only_see_items_they_have_permission_for(client, alice):
    denial("user:1/a", "user:1")
    make_key(alice, expires_at=timezone.now() + 2 * DAY)
    for _ in range(20):
        event(make_key(alice), HOUR, status_code=403, reason="permission_denied")
    Job.objects.create(name="fold_usage", next_at=timezone.now() - DAY)
    seen = {}
    for permission in ("ratelimits.view_ratelimit", "apikeys.view_apikey", "apikeys.view_keyusage", "apikeys.view_job"):
        client.force_login(make_staff(permission.split("_")[-1], permission))
        seen[permission] = [text.split()[1] for text in items(client)]
    assert seen == {
        "ratelimits.view_ratelimit": ["user"],
        "apikeys.view_apikey": ["API"],
        "apikeys.view_keyusage": ["requests"],
        "apikeys.view_job": ["jobs:"],
    }
