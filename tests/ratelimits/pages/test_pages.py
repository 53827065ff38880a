"""The staff pages about rate limits."""

from __future__ import annotations

import datetime as dt

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from config.base.history import Author
from ratelimits.limiter import limiter
from ratelimits.models import Denial, Outage
from ratelimits.rules import budgets_for
from ratelimits.services import set_mode
from ratelimits.stores import StoreUnavailable
from tests.conftest import make_user
from tests.pages import text_of
from tests.rows import make_limit

pytestmark = pytest.mark.usefixtures("memory")
PAGES = ("match_tester", "limited_now", "copy")


def url(name):
    return reverse(f"ratelimits:{name}")


def exhaust(user, path="/x"):
    budgets = budgets_for(f"user:{user.pk}", user.tier_id, "GET", path)
    while limiter().hit(budgets).allowed:
        pass


# --- Permissions ---


@pytest.mark.parametrize("page", PAGES)
def test_only_staff_can_open_the_pages(client, alice, page):
    assert client.get(url(page))["Location"] == f"/accounts/login/?next={url(page)}"
    client.force_login(alice)
    assert client.get(url(page)).status_code == 403


@pytest.mark.parametrize("page", PAGES)
def test_staff_without_permission_cannot_open_the_pages(client, alice, page):
    alice.is_staff = True
    alice.save()
    client.force_login(alice)
    assert client.get(url(page)).status_code == 403


def test_view_permission_does_not_allow_changes(client, alice, free):
    alice.is_staff = True
    alice.save()
    alice.user_permissions.add(Permission.objects.get(codename="view_ratelimit"))
    client.force_login(alice)
    assert client.get(url("limited_now")).status_code == 200
    assert client.get(url("copy")).status_code == 403
    assert client.post(url("reset"), {"owner": "user:1"}).status_code == 403


def test_reset_requires_post(staff_client):
    assert staff_client.get(url("reset")).status_code == 405


# --- Match tester ---


def test_match_tester_shows_matching_limits_in_order(staff_client, free):
    for path in ("/orders/{id}", "/orders/*", "/*"):
        make_limit(free, path, name=f"limit on {path}")
    page = text_of(staff_client.get(url("match_tester"), {"method": "GET", "path": "/orders//5/?x=1", "tier": free.pk}))
    assert ">/orders/{id}</span> apply" in page
    assert "GET /orders/5" in page
    assert page.index("limit on /orders/{id}") < page.index("limit on /orders/*") < page.index("limit on /*")
    assert "10 per minute" in page


def test_match_tester_accepts_a_user_and_shows_what_remains(staff_client, alice, free):
    make_limit(free, "/orders", name="orders")
    limiter().hit(budgets_for(f"user:{alice.pk}", free.pk, "GET", "/orders"))
    for username in ("alice", "ALICE@example.com"):
        page = text_of(staff_client.get(url("match_tester"), {"method": "GET", "path": "/orders", "user": username}))
        assert "9 of 10" in page


def test_match_tester_says_if_only_the_default_applies(staff_client, free):
    page = text_of(staff_client.get(url("match_tester"), {"method": "GET", "path": "/x", "tier": free.pk}))
    assert "so the default applies" in page
    assert "100 per minute" in page


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"path": "/a/../b"}, "ambiguous_path"),
        ({"path": "/a\x00"}, None),
        ({"path": ""}, "This field is required"),
        ({"path": "/x", "user": "nobody"}, "There is no user with this username"),
        ({"path": "/x"}, "Choose a tier or enter a user"),
        ({"path": "/x", "tier": "999999999999999999999999"}, "Select a valid choice"),
        ({"path": "/x", "method": "BREW"}, "Select a valid choice"),
        ({"path": "/" + "x" * 3000}, "at most 2000"),
    ],
)
def test_invalid_input_to_the_match_tester_is_a_field_error(staff_client, query, message):
    response = staff_client.get(url("match_tester"), {"method": "GET"} | query)
    assert response.status_code == (200 if message else 400)
    assert message is None or message in text_of(response)


def test_default_applies_to_a_user_without_a_tier(staff_client, sue):
    type(sue).objects.update(tier=None)
    page = text_of(staff_client.get(url("match_tester"), {"method": "GET", "path": "/x", "user": "sue"}))
    assert "<dt>Tier</dt><dd>None</dd>" in page
    assert "100 of 100" in page


# --- Recently rate limited ---


def test_rate_limited_users_are_listed(staff_client, alice, settings):
    settings.DEFAULT_RATE_LIMIT_LIMIT = 2
    exhaust(alice)
    page = text_of(staff_client.get(url("limited_now")))
    assert "alice" in page
    assert "2 per minute" in page
    assert "denied for 30 seconds" in page


def test_empty_list_of_rate_limited_users(staff_client):
    page = text_of(staff_client.get(url("limited_now")))
    assert "Nobody was rate limited in the last 5 minutes" in page
    assert "No outages in the last 7 days" in page


def test_addresses_are_listed_and_old_denials_are_not(staff_client):
    now = timezone.now()
    row = {"name": "default", "limit": 5, "period": 60, "window": "rolling", "first_at": now, "count": 3}
    Denial.objects.create(key="addr:192.0.2.1/default", owner="addr:192.0.2.1", last_at=now, **row)
    old = now - dt.timedelta(minutes=6)
    Denial.objects.create(key="addr:192.0.2.2/default", owner="addr:192.0.2.2", last_at=old, **row)
    page = text_of(staff_client.get(url("limited_now")))
    assert "addr:192.0.2.1" in page
    assert "addr:192.0.2.2" not in page


@pytest.mark.parametrize("number", [1, 50])
def test_number_of_queries_does_not_grow_with_denials(staff_client, free, django_assert_num_queries, number):
    rule, now = make_limit(free, "/x"), timezone.now()
    for one in range(number):
        user = make_user(f"user{one}")
        Denial.objects.create(
            key=f"user:{user.pk}/rule:{rule.pk}", owner=f"user:{user.pk}", rate_limit=rule, name="x", limit=5, period=60,
            window="rolling", first_at=now, last_at=now, count=1,
        )  # fmt: skip
    staff_client.get(url("limited_now"))
    with django_assert_num_queries(8):  # session, user, count, denials, accounts, active users, fold state, outages
        assert "user0" in text_of(staff_client.get(url("limited_now")))


def test_reset_clears_all_limits_of_a_user_and_is_logged(staff_client, alice, free, settings):
    settings.DEFAULT_RATE_LIMIT_LIMIT = 2
    make_limit(free, "/orders", limit=1)
    exhaust(alice)
    exhaust(alice, "/orders")
    response = staff_client.post(url("reset"), {"owner": f"user:{alice.pk}"}, follow=True)
    assert "Rate limits reset for alice" in text_of(response)
    for path in ("/x", "/orders"):
        assert limiter().hit(budgets_for(f"user:{alice.pk}", free.pk, "GET", path)).allowed
    assert "Rate limit counters reset" in LogEntry.objects.get().change_message
    assert not Denial.objects.exists()


def test_reset_without_the_store_shows_an_error(staff_client, alice, monkeypatch):
    exhaust(alice)

    def unavailable(keys):
        raise StoreUnavailable("gone")

    monkeypatch.setattr(limiter().store, "reset", unavailable)
    response = staff_client.post(url("reset"), {"owner": f"user:{alice.pk}"}, follow=True)
    assert "nothing was reset" in text_of(response)
    assert Denial.objects.exists()


def test_limits_of_an_address_can_be_reset(staff_client):
    budgets = budgets_for("addr:192.0.2.1", None, "GET", "/x")
    while limiter().hit(budgets).allowed:
        pass
    staff_client.post(url("reset"), {"owner": "addr:192.0.2.1"})
    assert limiter().hit(budgets).allowed


@pytest.mark.parametrize("owner", ["", "user:1", "user:99999999999999999999999", "x" * 10_000])
def test_owner_that_is_not_limited_cannot_be_reset(staff_client, owner):
    assert staff_client.post(url("reset"), {"owner": owner}).status_code == 404


def test_outages_are_shown(staff_client):
    Outage.objects.create(store="redis", node="web1, process 7", error="no <b>answer</b>", began_at=timezone.now(),
                          allowed=1234)  # fmt: skip
    page = text_of(staff_client.get(url("limited_now")))
    assert "web1, process 7" in page
    assert "1,234" in page
    assert "ongoing" in page
    assert "no &lt;b&gt;answer" in page


# --- Copying ---


def test_copy_is_previewed_and_adds_missing_limits(staff_client, free, pro):
    make_limit(free, "/orders/{id}", name="orders")
    make_limit(free, "/users", name="users")
    make_limit(pro, "/users", limit=99)
    tiers = {"source": free.pk, "target": pro.pk}
    page = text_of(staff_client.get(url("copy"), tiers))
    assert "1 rate limit will be created" in page
    assert "1 rate limit will be skipped" in page
    assert pro.rate_limits.count() == 1
    staff_client.post(url("copy"), tiers)
    copied = pro.rate_limits.get(path="/orders/{id}")
    assert (copied.name, copied.limit) == ("orders-pro", 10)
    assert pro.rate_limits.get(path="/users").limit == 99
    assert LogEntry.objects.filter(object_id=str(copied.pk)).exists()


def test_copying_twice_changes_nothing(staff_client, free, pro):
    make_limit(free, "/orders")
    for _ in range(2):
        staff_client.post(url("copy"), {"source": free.pk, "target": pro.pk})
    assert pro.rate_limits.count() == 1
    assert "already has all of these rate limits" in text_of(
        staff_client.get(url("copy"), {"source": free.pk, "target": pro.pk})
    )


def test_copy_generates_a_name_if_it_is_taken_or_too_long(staff_client, free, pro):
    make_limit(free, "/a", name="a")
    make_limit(free, "/b", name="b" * 99)
    make_limit(free, "/c", name="a-pro")
    staff_client.post(url("copy"), {"source": free.pk, "target": pro.pk})
    assert sorted(name[:10] for name in pro.rate_limits.values_list("name", flat=True))[-2:] == [
        "rate_limit",
        "rate_limit",
    ]


def test_copy_skips_limits_that_would_never_apply(staff_client, free, pro):
    make_limit(free, "/a/*")
    make_limit(pro, "/a")
    make_limit(pro, "/a/{x}/*")
    response = staff_client.post(url("copy"), {"source": free.pk, "target": pro.pk}, follow=True)
    assert "would never apply" in text_of(response)
    assert pro.rate_limits.count() == 2


@pytest.mark.parametrize("target", ["same", "999", "x", ""])
def test_copy_with_invalid_tiers_is_a_field_error(staff_client, free, target):
    tiers = {"source": free.pk, "target": free.pk if target == "same" else target}
    for response in (staff_client.get(url("copy"), tiers), staff_client.post(url("copy"), tiers)):
        assert response.status_code == 200
        assert "errorlist" in text_of(response)


# --- The admin ---


def admin_form(tier, **fields):
    return {"tier": tier.pk, "path": "/orders/{id}", "method": "", "limit": 5, "period": 60, "window": "rolling",
            "mode": "enforce", "name": ""} | fields  # fmt: skip


def test_saving_warns_about_limits_that_lose_requests(staff_client, free):
    make_limit(free, "/orders/*")
    make_limit(free, "/orders")
    response = staff_client.post(reverse("admin:ratelimits_ratelimit_add"), admin_form(free), follow=True)
    assert "no longer count toward /orders/*" in text_of(response)
    response = staff_client.post(
        reverse("admin:ratelimits_ratelimit_add"), admin_form(free, path="/orders/{id}/*", mode="observe"), follow=True
    )
    assert "/orders/* no longer applies" in text_of(response)
    assert "doesn&#x27;t limit those requests at all" in text_of(response)


def test_form_explains_a_limit_that_would_never_apply(staff_client, free):
    make_limit(free, "/orders")
    make_limit(free, "/orders/{id}/*")
    response = staff_client.post(reverse("admin:ratelimits_ratelimit_add"), admin_form(free, path="/orders/*"))
    assert "would never apply" in text_of(response)
    assert "/orders/*" in text_of(response)


def test_list_shows_limits_in_words(staff_client, free):
    make_limit(free, "/orders", limit=100)
    assert "100 per minute" in text_of(staff_client.get(reverse("admin:ratelimits_ratelimit_changelist")))


def test_mode_actions_ask_for_confirmation_and_are_logged(staff_client, free):
    row = make_limit(free, "/orders")
    changelist = reverse("admin:ratelimits_ratelimit_changelist")
    for mode in ("observe", "enforce"):
        chosen = {"action": f"{mode}_selected", "_selected_action": row.pk}
        assert "Within 5 seconds" in text_of(staff_client.post(changelist, chosen))
        assert "1 rate limit set to" in text_of(staff_client.post(changelist, chosen | {"post": "yes"}, follow=True))
        row.refresh_from_db()
        assert row.mode == mode
    assert LogEntry.objects.count() == 2
    assert "There is nothing to change." in text_of(
        staff_client.post(changelist, {"action": "enforce_selected", "_selected_action": row.pk}, follow=True)
    )


def test_deletion_applies_immediately_in_this_process(staff_client, free):
    row = make_limit(free, "/orders", name="orders")
    assert budgets_for("user:1", free.pk, "GET", "/orders")[0].name == "orders"
    staff_client.post(reverse("admin:ratelimits_ratelimit_delete", args=[row.pk]), {"post": "yes"})
    assert budgets_for("user:1", free.pk, "GET", "/orders")[0].name == "default"


def test_unchanged_mode_is_not_logged(sue, free, rf):
    first, second = make_limit(free, "/a"), make_limit(free, "/b")
    second.mode = "observe"
    second.save()
    assert set_mode([first, second], "observe", Author(sue)) == 1
    assert [entry.object_id for entry in LogEntry.objects.all()] == [str(first.pk)]
