"""What if: how many recent requests a rate limit would have denied."""

from __future__ import annotations

import datetime as dt

import pytest
from django.db.models import F
from django.urls import reverse
from django.utils import timezone

from apikeys.models import APIKey, KeyUsage
from apikeys.tools.what_if import replay
from ratelimits.models import RateLimit
from tests.pages import fields_of, opened, text_of
from tests.rows import make_limit

URL = "/admin/ratelimits/what-if/"


def test_url_name():
    assert reverse("tools:what_if") == URL


def test_only_staff_with_permission_can_open_what_if(client, alice):
    assert client.get(URL)["Location"] == f"/accounts/login/?next={URL}"
    client.force_login(alice)
    assert client.get(URL).status_code == 403
    alice.is_staff = True
    alice.save()
    assert client.get(URL).status_code == 403


@pytest.fixture
def busy_alice(alice):
    """Yesterday: 20 requests within 20 seconds, two to another path, one denied for another reason."""
    key = APIKey.objects.create(user=alice, name="k", prefix="gate_x", last4="abcd", secret_hash="h", pepper_id="p")
    start = timezone.now() - dt.timedelta(days=1)

    def add_request(seconds, endpoint="/orders/5", reason=""):
        created_at = start + dt.timedelta(seconds=seconds)
        row = KeyUsage.objects.create(
            api_key=key, user=alice, endpoint=endpoint, method="GET", status_code=200, reason=reason
        )
        KeyUsage.objects.filter(pk=row.pk).update(created_at=created_at)

    for second in range(20):
        add_request(second)
    add_request(1, "/users")
    add_request(2, "/a/../b")
    add_request(3, reason="permission_denied")
    return alice


def for_tier(tier, **fields):
    return question(tier=tier.pk, **fields)


def question(**fields):
    return {
        "path": "/orders/{id}",
        "method": "",
        "limit": 5,
        "period": 3600,
        "window": "rolling",
    } | fields


def test_what_if_counts_requests_the_limit_would_have_denied(staff_client, busy_alice, free):
    page = text_of(staff_client.get(URL, for_tier(free)))
    assert "would have denied <strong>15 requests</strong> of 20, made by <strong>1 user</strong> of 1" in page
    assert "Each request counts as 1, whatever <code>cost</code> a service asked for." in page
    assert "alice" in page
    assert not RateLimit.objects.exists()


def test_what_if_considers_more_specific_limits(staff_client, busy_alice, free):
    make_limit(free, "/orders/5")
    assert "No requests in the last 7 days match this rate limit." in text_of(staff_client.get(URL, for_tier(free)))


def test_what_if_replaces_an_existing_limit(staff_client, busy_alice, free):
    make_limit(free, "/orders/{id}", period=3600, limit=99)
    assert "<strong>15 requests</strong>" in text_of(staff_client.get(URL, for_tier(free)))


def test_what_if_for_a_limit_being_edited(staff_client, busy_alice, free):
    row = make_limit(free, "/orders/{id}", limit=5)
    page = text_of(staff_client.post(f"{URL}?limit_id={row.pk}", for_tier(free, limit=18, mode="enforce", name="x")))
    assert "<strong>2 requests</strong>" in page
    row.refresh_from_db()
    assert row.limit == 5


def test_what_if_says_if_only_the_newest_requests_were_used(staff_client, busy_alice, free, monkeypatch):
    monkeypatch.setattr("apikeys.tools.what_if.MAX_EVENTS", 10)
    page = text_of(staff_client.get(URL, for_tier(free)))
    assert "Only the newest" in page


@pytest.mark.parametrize(
    "invalid", [{"path": "/a/*/b"}, {"limit": 0}, {"limit": 2**63}, {"period": "NaN"}, {"tier": 0}, {"window": "x"}]
)
def test_invalid_input_to_what_if_is_a_field_error(staff_client, free, invalid):
    response = staff_client.get(URL, for_tier(free) | invalid)
    assert response.status_code == 200
    assert "errorlist" in text_of(response)


def test_what_if_for_an_unknown_limit_is_404(staff_client, db):
    assert staff_client.get(URL, {"limit_id": 999}).status_code == 404


# --- Own and overall limits, hosts, units ---


def for_user(user, **fields):
    return question(user=user.pk, **fields)


def test_own_limit_is_tested_on_the_users_requests(staff_client, busy_alice, bob):
    found = staff_client.get(URL, for_user(busy_alice)).context["replay"]
    assert (found.requests, found.denied_requests) == (20, 15)
    assert "Based on the usage of API keys of alice." in text_of(staff_client.get(URL, for_user(busy_alice)))
    assert staff_client.get(URL, for_user(bob)).context["replay"].requests == 0


def test_more_specific_tier_limit_takes_precedence_over_an_own_limit(staff_client, busy_alice, free):
    make_limit(free, "/orders/5")
    assert staff_client.get(URL, for_user(busy_alice)).context["replay"].requests == 0
    assert staff_client.get(URL, for_user(busy_alice, path="/orders/5")).context["replay"].requests == 20


def test_overall_limit_counts_all_matching_requests(staff_client, busy_alice, free):
    make_limit(free, "/orders/5")
    question = for_tier(free, path="/*")
    assert staff_client.get(URL, question).context["replay"].requests == 2
    assert staff_client.get(URL, question | {"overall": "on"}).context["replay"].requests == 22


def test_limit_for_a_host_counts_its_requests(staff_client, busy_alice, free):
    KeyUsage.objects.filter(endpoint="/users").update(host="api.example.com")
    assert staff_client.get(URL, for_tier(free, path="/*", host="*.example.com")).context["replay"].requests == 1


def test_token_limit_denies_requests_after_it_is_used_up(staff_client, busy_alice):
    KeyUsage.objects.filter(endpoint="/orders/5").update(tokens_used=10, reported_at=F("created_at"))
    question = for_user(busy_alice, window="month", unit="tokens", limit=45)
    page = staff_client.get(URL, question)
    assert page.context["replay"].denied_requests == 15
    assert "/orders/{id}</span>, 45 tokens per month" in text_of(page)
    assert staff_client.get(URL, question | {"unit": "microcents"}).context["replay"].denied_requests == 0
    KeyUsage.objects.update(reported_at=None)
    assert staff_client.get(URL, question).context["replay"].denied_requests == 0


def test_what_if_replaces_an_existing_token_limit(staff_client, busy_alice):
    limit = RateLimit.objects.create(user=busy_alice, path="/orders/{id}", limit=5, unit="tokens", window="week")
    found = staff_client.get(URL, for_user(busy_alice, window="week", unit="tokens", limit=9))
    assert found.context["form"].instance.pk == limit.pk
    assert not found.context["form"].errors


def test_prepaid_limit_counts_all_requests_of_the_period(staff_client, busy_alice):
    found = staff_client.get(URL, for_user(busy_alice, window="total")).context["replay"]
    assert (found.requests, found.denied_requests) == (20, 15)


def test_own_limit_denies_nothing_after_its_end(staff_client, busy_alice):
    limit = RateLimit.objects.create(
        user=busy_alice, path="/orders/{id}", limit=5, period=3600, ends_at=timezone.now() - dt.timedelta(days=2)
    )
    assert replay(limit).requests == 0
    limit.ends_at = timezone.now() + dt.timedelta(days=2)
    assert replay(limit).denied_requests == 15


def test_requests_without_tier_access_do_not_count(staff_client, busy_alice, free):
    free.access.update(resource="/users")
    assert staff_client.get(URL, for_tier(free, path="/*")).context["replay"].requests == 1
    KeyUsage.objects.filter(endpoint="/orders/5", reason="").update(reason="tier_denied")
    free.access.update(resource="/orders/*")
    assert staff_client.get(URL, for_tier(free)).context["replay"].denied_requests == 15


def test_named_resource_without_tier_access_does_not_count(staff_client, busy_alice, free):
    KeyUsage.objects.filter(endpoint="/orders/5").update(endpoint="invoices")
    free.access.update(resource="/users")
    assert staff_client.get(URL, for_tier(free, path="/*")).context["replay"].requests == 1
    free.access.update(resource="invoices", action="delete")
    assert staff_client.get(URL, for_tier(free, path="/*")).context["replay"].requests == 20


def test_users_count_for_the_default_tier_after_their_tier_ended(staff_client, busy_alice, free, pro):
    busy_alice.tier, busy_alice.tier_until = pro, timezone.now() - dt.timedelta(hours=23)
    busy_alice.save()
    assert staff_client.get(URL, for_tier(free)).context["replay"].requests == 0
    assert staff_client.get(URL, for_tier(pro)).context["replay"].requests == 20
    busy_alice.tier_until -= dt.timedelta(days=2)
    busy_alice.save()
    assert staff_client.get(URL, for_tier(free)).context["replay"].requests == 20
    assert staff_client.get(URL, for_tier(pro)).context["replay"].requests == 0


def test_ended_tier_without_a_default_has_no_requests(staff_client, busy_alice, free, pro):
    busy_alice.tier, busy_alice.tier_until = pro, timezone.now() - dt.timedelta(days=3)
    busy_alice.save()
    free.name = "other"
    free.save()
    assert staff_client.get(URL, for_tier(pro)).context["replay"].requests == 0


def test_requests_denied_by_the_key_limit_are_not_charged(staff_client, busy_alice, free):
    question = for_tier(free, limit=15, window="fixed", period=2_592_000)
    assert staff_client.get(URL, question).context["replay"].denied_requests == 5
    APIKey.objects.update(rate_limit=8, rate_period=3600)
    assert staff_client.get(URL, question).context["replay"].denied_requests == 0


def test_earlier_requests_of_the_month_are_charged(staff_client, busy_alice, free):
    KeyUsage.objects.filter(endpoint="/orders/5", reason="").update(created_at=timezone.now() - dt.timedelta(days=8))
    latest = KeyUsage.objects.get(endpoint="/users")
    KeyUsage.objects.filter(pk=latest.pk).update(endpoint="/orders/5")
    month = for_tier(free, window="month", limit=20)
    busy_alice.billing_day = (timezone.now() - dt.timedelta(days=9)).day
    busy_alice.save()
    found = staff_client.get(URL, month).context["replay"]
    assert (found.requests, found.denied_requests) == (1, 1)
    busy_alice.billing_day = (timezone.now() - dt.timedelta(days=3)).day
    busy_alice.save()
    assert staff_client.get(URL, month).context["replay"].denied_requests == 0


# --- From the form of a limit, and back to it ---


def test_edited_limit_can_be_saved_from_what_if(staff_client, busy_alice, free):
    limit = make_limit(free, "/orders/{id}", name="old", limit=50)
    url = f"/admin/ratelimits/ratelimit/{limit.pk}/change/"
    data = opened(staff_client, url) | {"name": "new", "mode": "observe", "limit": "7"}
    page = staff_client.post(f"{URL}?limit_id={limit.pk}", data).content.decode()
    again = fields_of(page, "mode")
    assert (again["name"], again["mode"], again["limit"]) == (["new"], ["observe"], ["7"])
    page = staff_client.post(f"{URL}?limit_id={limit.pk}", again | {"limit": "5", "period": "1", "period_unit": "3600"})
    assert page.context["replay"].denied_requests == 15
    assert f'formaction="{url}"' in page.content.decode()
    limit.refresh_from_db()
    assert limit.name == "old"
    staff_client.post(url, fields_of(page.content.decode(), "mode"))
    limit.refresh_from_db()
    assert (limit.name, limit.mode, limit.limit, limit.period) == ("new", "observe", 5, 3600)


def test_new_limit_can_be_saved_from_what_if(staff_client, free):
    add = "/admin/ratelimits/ratelimit/add/"
    data = opened(staff_client, add, "path") | {"tier": free.pk, "path": "/a", "limit": "7", "name": "new"}
    page = staff_client.post(URL, data).content.decode()
    assert f'formaction="{add}"' in page
    staff_client.post(add, fields_of(page, "mode"))
    assert RateLimit.objects.get().name == "new"


def test_save_button_is_hidden_without_a_limit_form(staff_client, free):
    assert "Save rate limit" not in text_of(staff_client.get(URL, for_tier(free)))
