"""A user's own rate limits, effective limits, end of tier and billing day on the staff pages."""

from __future__ import annotations

import datetime as dt

import pytest
from django.utils import timezone

from accounts.models import User
from config.base.history import describe, entries_of
from ratelimits.limiter import limiter
from ratelimits.models import RateLimit
from ratelimits.rules import owner_of_user
from tests.accounts.people import signed_in
from tests.pages import text_of
from tests.rows import make_key, make_limit, make_staff

pytestmark = pytest.mark.django_db
HOUR = dt.timedelta(hours=1)


def posted_fields(**changes):
    return {"path": "/orders/*", "method": "", "host": "", "limit": "50", "unit": "requests", "window": "rolling",
            "period": "60", "mode": "enforce", "ends_at": "", "name": ""} | changes  # fmt: skip


def own_limit(user, **changes):
    return RateLimit.objects.create(user=user, **{"path": "/orders/*", "limit": 50, "name": "exception"} | changes)


def notes(row):
    return [describe(entry).summary for entry in entries_of(row)]


def test_staff_can_add_an_own_limit_that_ends(staff_client, alice):
    ends_at = (timezone.now() + HOUR).replace(microsecond=0)
    posted = posted_fields(ends_at=f"{ends_at:%Y-%m-%dT%H:%M:%S}", host="API.example.com", name="trial")
    page = text_of(staff_client.post(f"/users/{alice.pk}/limits/add/", posted, follow=True))
    limit = alice.rate_limits.get()
    assert (limit.limit, limit.host, limit.ends_at, limit.tier) == (50, "api.example.com", ends_at, None)
    assert "“trial” added" in page
    assert notes(alice)[0] == "Rate limit “trial” added: /orders/* on api.example.com, 50 per minute."
    assert notes(limit) == ["Created."]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "orders"}, "Start the path with a slash"),
        ({"limit": "0"}, "Enter 1 or more."),
        ({"limit": str(2**63)}, "9223372036854775807 or less."),
        ({"ends_at": "2020-01-01T00:00"}, "Enter a time in the future."),
        ({"ends_at": "soon"}, "Enter a valid date and time, for example 2027-01-31 00:00."),
        ({"window": "fortnight"}, "Select a valid choice."),
        ({"unit": "euros"}, "Select a valid choice."),
        ({"unit": "tokens"}, "Choose a fixed window, a week, a month or a total"),
        ({"host": "https://example.com"}, "Remove the scheme"),
        ({"host": "api.example.com:8080"}, "Remove the port."),
    ],
)
def test_invalid_values_are_field_errors_and_are_kept(staff_client, alice, changes, message):
    response = staff_client.post(f"/users/{alice.pk}/limits/add/", posted_fields(**changes))
    assert message in response.content.decode()
    ((name, value),) = changes.items()
    assert list(response.context["form"].errors) == [name] or "window" in response.context["form"].errors
    assert response.context["form"][name].value() == value
    assert not RateLimit.objects.exists()


def test_a_duplicate_rule_is_a_form_error(staff_client, alice):
    own_limit(alice)
    response = staff_client.post(f"/users/{alice.pk}/limits/add/", posted_fields())
    assert "This user already has a rate limit with this host" in response.content.decode()
    assert alice.rate_limits.count() == 1


def test_a_missing_unit_means_requests(staff_client, alice):
    posted = posted_fields()
    del posted["unit"]
    staff_client.post(f"/users/{alice.pk}/limits/add/", posted)
    staff_client.post(f"/users/{alice.pk}/limits/add/", posted_fields(unit="", path="/other"))
    assert [limit.unit for limit in alice.rate_limits.all()] == ["requests"] * 2


def test_staff_can_edit_an_own_limit(staff_client, alice):
    limit = own_limit(alice)
    url = f"/users/{alice.pk}/limits/{limit.pk}/"
    assert "/orders/*" in staff_client.get(url).content.decode()
    staff_client.post(url, posted_fields(name="exception", limit="70", overall="on"))
    limit.refresh_from_db()
    assert (limit.limit, limit.overall) == (70, True)
    assert notes(alice)[0] == "Rate limit “exception” edited: /orders/*, 70 per minute."
    changed = [(change["field"], change["new"]) for change in describe(entries_of(limit)[0]).values]
    assert changed == [("limit", "70"), ("overall", "yes")]
    page = staff_client.post(url, posted_fields(name="exception", limit="70", overall="on"), follow=True)
    assert "Nothing changed." in page.content.decode()
    assert len(notes(limit)) == 1


def test_staff_can_end_an_own_limit_after_confirming(staff_client, alice):
    limit = own_limit(alice)
    url = f"/users/{alice.pk}/limits/{limit.pk}/end/"
    assert "the tier's rate limits apply instead" in text_of(staff_client.get(url)).replace("&#x27;", "'")
    assert alice.rate_limits.live().exists()
    page = staff_client.post(url, follow=True)
    assert page.redirect_chain[0][0] == f"/users/{alice.pk}/"
    assert not alice.rate_limits.live().exists()
    assert notes(alice)[0].startswith("Rate limit “exception” ended")
    assert "has already been deleted" in text_of(staff_client.post(url, follow=True))


def test_limits_of_another_user_are_not_found(staff_client, alice, bob):
    limit = own_limit(bob)
    for end in ("", "end/"):
        assert staff_client.get(f"/users/{alice.pk}/limits/{limit.pk}/{end}").status_code == 404


def test_changing_own_limits_requires_permission(alice, sue):
    limit, of_sue = own_limit(alice), own_limit(sue, name="of sue")
    viewer = signed_in(make_staff("viewer", "accounts.view_user", "ratelimits.view_ratelimit"))
    all_of_them = [f"ratelimits.{verb}_ratelimit" for verb in ("view", "add", "change", "delete")]
    editor = signed_in(make_staff("keeper", "accounts.view_user", *all_of_them))
    for address in ("limits/add/", "limits/{}/", "limits/{}/end/"):
        assert viewer.get(f"/users/{alice.pk}/{address.format(limit.pk)}").status_code == 403
        assert editor.get(f"/users/{alice.pk}/{address.format(limit.pk)}").status_code == 200
        assert editor.get(f"/users/{sue.pk}/{address.format(of_sue.pk)}").status_code == 403
    assert "Add rate limit" in editor.get(f"/users/{alice.pk}/").content.decode()
    assert "Add rate limit" not in viewer.get(f"/users/{alice.pk}/").content.decode()


# --- Effective limits ---


def rows_of(client, user):
    effective = client.get(f"/users/{user.pk}/").context["effective"]
    return [(row.source, row.requests, row.budget.in_words) for row in effective.rows]


def test_effective_limits_show_their_source(staff_client, alice, free):
    make_limit(free, "/orders/{id}", limit=10)
    make_limit(free, "/*", limit=1000, window="month", overall=True)
    make_limit(free, "/users", limit=20, host="api.example.com", method="GET")
    own_limit(alice, path="/orders/{number}", ends_at=timezone.now() + HOUR)
    own_limit(alice, path="/ended", ends_at=timezone.now() - HOUR, name="past")
    make_key(alice, "nightly", rate_limit=5, rate_period=604800, rate_window="week")
    make_key(alice, "revoked", rate_limit=6, rate_period=60, revoked_at=timezone.now())
    assert rows_of(staff_client, alice) == [
        ("own", "/orders/{number}", "50 per minute"),
        ("tier", "/*", "1,000 per month"),
        ("tier", "GET /users on api.example.com", "20 per minute"),
        ("default", "Everything else", "100 per minute"),
        ("key", "Everything with this key", "5 per week"),
    ]
    page = text_of(staff_client.get(f"/users/{alice.pk}/"))
    for text in ("Own", "in 1 hour", "Tier free", "Default", "nightly", "overall"):
        assert text in page


def test_effective_limits_show_what_remains_and_when_they_reset(staff_client, alice):
    limit, prepaid = (
        own_limit(alice, limit=5),
        own_limit(alice, path="/prepaid", limit=9, window="total", name="prepaid"),
    )
    for used in (limit, prepaid):
        limiter().hit([used.budget(owner_of_user(alice.pk))], 4)
    page = text_of(staff_client.get(f"/users/{alice.pk}/"))
    assert "1 of 5" in page
    assert "5 of 9" in page
    assert "never" in page
    limiter().hit([limit.budget(owner_of_user(alice.pk))])
    assert "none left" in text_of(staff_client.get(f"/users/{alice.pk}/"))


def test_remaining_requests_are_unknown_while_the_store_is_unavailable(staff_client, alice, monkeypatch):
    monkeypatch.setattr(type(limiter().breaker), "is_open", True)
    assert "remaining requests are unknown" in text_of(staff_client.get(f"/users/{alice.pk}/"))


def test_limits_of_keys_require_the_permission_to_view_keys(alice):
    make_key(alice, "nightly", rate_limit=5, rate_period=60)
    assert [row[0] for row in rows_of(signed_in(make_staff("viewer", "accounts.view_user")), alice)] == ["default"]


def test_users_see_their_own_limits(client, alice, free):
    make_limit(free, "/orders/*", limit=10)
    own_limit(alice, overall=True, ends_at=timezone.now() + HOUR)
    own_limit(alice, path="/hidden", mode="observe", name="hidden")
    make_key(alice, "nightly", rate_limit=5, rate_period=60)
    client.force_login(alice)
    page = text_of(client.get("/account/limits/"))
    for text in ("50 per minute", "overall", "in 1 hour", "10 per minute", "Key nightly", "Yours"):
        assert text in page
    assert "/hidden" not in page


# --- The end of a tier, and the billing day ---


def move(client, user, tier, until=""):
    return client.post(f"/users/{user.pk}/tier/", {"tier": tier.pk if tier else "", "tier_until": until}, follow=True)


def test_staff_can_move_a_user_to_a_tier_until_a_time(staff_client, alice, pro):
    until = (timezone.now() + HOUR).replace(microsecond=0)
    page = text_of(move(staff_client, alice, pro, f"{until:%Y-%m-%dT%H:%M:%S}"))
    alice.refresh_from_db()
    assert (alice.tier, alice.tier_until) == (pro, until)
    assert "in 1 hour" in page
    changes = describe(entries_of(alice)[0]).values
    assert [(change["field"], change["old"]) for change in changes] == [("tier", "free"), ("tier until", "–")]
    move(staff_client, alice, pro)
    alice.refresh_from_db()
    assert (alice.tier, alice.tier_until) == (pro, None)
    assert [change["field"] for change in describe(entries_of(alice)[0]).values] == ["tier until"]


@pytest.mark.parametrize(
    ("until", "message"),
    [
        ("2020-01-01T00:00", "Enter a time in the future."),
        ("soon", "Enter a valid date and time"),
        ("9" * 30, "Enter a"),
    ],
)
def test_the_end_of_a_tier_has_to_be_in_the_future(staff_client, alice, pro, until, message):
    assert message in move(staff_client, alice, pro, until).content.decode()
    alice.refresh_from_db()
    assert alice.tier_until is None


def test_no_tier_with_an_end_is_an_error(staff_client, alice):
    until = f"{timezone.now() + HOUR:%Y-%m-%dT%H:%M:%S}"
    assert "Choose a tier, or clear this time." in move(staff_client, alice, None, until).content.decode()


def test_a_bulk_move_clears_the_end_of_the_tier(staff_client, alice, pro):
    type(alice).objects.update(tier=pro, tier_until=timezone.now() + HOUR)
    data = {"action": "tier", "tier": pro.pk, "pk": [alice.pk]}
    staff_client.post("/users/bulk/", data | {"expected": 1})
    alice.refresh_from_db()
    assert (alice.tier, alice.tier_until) == (pro, None)


def test_pages_show_the_default_tier_after_a_tier_ended(staff_client, client, alice, free, pro):
    free.description = "The start."
    free.save()
    type(alice).objects.filter(pk=alice.pk).update(tier=pro, tier_until=timezone.now() - HOUR)
    page = text_of(staff_client.get(f"/users/{alice.pk}/"))
    assert "The start." in page
    assert "Was on “pro”" in page
    assert "pro (ended)" in text_of(staff_client.get("/users/"))
    assert staff_client.get(f"/users/{alice.pk}/tier/").context["form"]["tier_until"].value() is None
    client.force_login(alice)
    assert "Your tier: free" in text_of(client.get("/account/limits/"))


def test_staff_can_set_the_billing_day(staff_client, alice):
    url = f"/users/{alice.pk}/edit/"
    posted = {"name": "Alice", "username": "alice", "email": alice.email, "tier": alice.tier_id}
    staff_client.post(url, posted | {"billing_day": "31"})
    alice.refresh_from_db()
    assert alice.billing_day == 31
    for day in ("0", "32", "-1", str(2**63)):
        response = staff_client.post(url, posted | {"billing_day": day})
        assert "Enter a day of the month, from 1 to 31." in response.content.decode()
    staff_client.post(url, posted)
    alice.refresh_from_db()
    assert alice.billing_day == 31


def test_a_tier_limit_can_be_copied_to_an_own_limit(staff_client, alice, free, pro):
    limit = make_limit(free, "/search", method="POST", limit=5, period=10, mode="observe", name="searches")
    page = text_of(staff_client.get(f"/users/{alice.pk}/"))
    url = f"/users/{alice.pk}/limits/add/"
    assert f'href="{url}?from={limit.pk}"> Change for this user' in page
    form = staff_client.get(url, {"from": limit.pk}).context["form"]
    shown = {name: form[name].value() for name in ("path", "method", "limit", "period", "mode", "name")}
    assert shown == {"path": "/search", "method": "POST", "limit": 5, "period": 10, "mode": "observe", "name": ""}
    # Only limits of the user's own tier fill the form.
    other = make_limit(pro, "/other")
    for wrong in (other.pk, 0, -1, "x", "\0", "9" * 40):
        response = staff_client.get(url, {"from": wrong})
        assert response.status_code in {200, 400}
        assert "/other" not in text_of(response)
    User.objects.filter(pk=alice.pk).update(tier=None)
    assert staff_client.get(url, {"from": limit.pk}).status_code == 200
