"""Admin lists: bounded queries, live rows by default, filters and chips, search, export."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.admin import UserAdmin
from accounts.models import User
from apikeys.models import APIKey
from config.base import paginator as base_paginator
from config.base.history import CHANGE, Author
from config.base.paginator import BoundedPaginator
from ratelimits.models import RateLimit
from tests.conftest import make_user
from tests.rows import make_key, make_limit, make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db

LISTS = {
    "accounts/user": lambda n: make_user(f"user{n}"),
    "tiers/tier": lambda n: Tier.objects.create(name=f"tier {n}"),
    "ratelimits/ratelimit": lambda n: make_limit(Tier.objects.create(name=f"t{n}"), f"/p{n}"),
    "apikeys/apikey": lambda n: make_key(make_user(f"owner{n}")),
    "admin/logentry": lambda n: Author(make_user(f"by{n}")).record(Tier.objects.create(name=f"t{n}"), CHANGE, note="x"),
    "auth/group": lambda n: Group.objects.create(name=f"group {n}"),
}


def queries(client, url):
    with CaptureQueriesContext(connection) as captured:
        response = client.get(url)
        if response.streaming:
            response.getvalue()
    assert response.status_code == 200
    return [query["sql"] for query in captured.captured_queries]


@pytest.mark.parametrize("place", LISTS)
def test_the_number_of_queries_does_not_grow_with_rows(staff_client, place):
    LISTS[place](0)
    url = f"/admin/{place}/?o="
    staff_client.get(url)
    one = queries(staff_client, url)
    for number in range(1, 50):
        LISTS[place](number)
    many = queries(staff_client, url)
    assert len(many) == len(one)
    assert len(many) <= 14


@pytest.mark.parametrize("place", ["accounts/user", "tiers/tier", "ratelimits/ratelimit", "apikeys/apikey"])
def test_deleted_rows_are_hidden_by_default(staff_client, place):
    LISTS[place](1)
    gone = LISTS[place](2)
    gone.delete()
    model = type(gone)

    def shown(query="?"):
        return set(staff_client.get(f"/admin/{place}/{query}&o=").context["cl"].result_list)

    assert shown() == set(model.objects.live())
    assert shown("?state=deleted") == {gone}
    assert shown("?state=all") == set(model.objects.all())
    assert shown("?state=nonsense") == set(model.objects.live())
    page = staff_client.get(f"/admin/{place}/?o=").content.decode()
    assert "state=deleted" in page
    assert "state=all" in page
    assert "deleted just now" in staff_client.get(f"/admin/{place}/?state=all&o=").content.decode()


def test_counts_of_long_lists_are_capped(staff_client, sue, monkeypatch):
    monkeypatch.setattr(base_paginator, "MAX_COUNTED", 60)
    LogEntry.objects.bulk_create(
        [LogEntry(user=sue, object_repr=str(number), action_flag=CHANGE) for number in range(200)]
    )
    for url in ("/admin/admin/logentry/", "/admin/admin/logentry/?kind=tiers.tier", "/admin/admin/logentry/?p=2"):
        counts = [sql for sql in queries(staff_client, url) if "COUNT(" in sql and "admin_log" in sql]
        assert [sql for sql in counts if "LIMIT" not in sql] == []
    assert "More than 60 entries" in staff_client.get("/admin/admin/logentry/").content.decode()
    assert staff_client.get("/admin/admin/logentry/?p=3").status_code == 302


def test_a_short_table_is_counted_exactly(alice):
    paginator = BoundedPaginator(User.objects.all(), 10)
    assert (paginator.count, paginator.is_capped) == (1, False)
    assert paginator.num_pages == 1


def test_history_is_read_only_even_for_a_superuser(staff_client, alice):
    entry = f"/admin/admin/logentry/{Author(alice).record(alice, CHANGE).pk}"
    assert staff_client.get("/admin/admin/logentry/add/").status_code == 403
    assert staff_client.get(f"{entry}/delete/").status_code == 403
    assert staff_client.post(f"{entry}/change/", {}).status_code == 403
    assert staff_client.get(f"{entry}/change/").status_code == 200


def test_active_filters_are_chips_that_can_be_removed_one_by_one(staff_client, alice):
    page = staff_client.get("/admin/accounts/user/?is_active__exact=1&state=all&q=alice")
    chips = {chip.label: chip for chip in page.context["cl"].bar.chips}
    assert {label: chip.value for label, chip in chips.items()} == {
        "Search": "alice",
        "State": "Live and deleted",
        "Active": "Yes",
    }
    assert "is_active__exact=1" in chips["Search"].query
    assert "q=" not in chips["Search"].query
    assert "state" not in chips["State"].query
    assert "Clear all" in page.content.decode()
    page = staff_client.get("/admin/accounts/user/?o=")
    assert page.context["cl"].bar.chips == []
    assert 'class="chips"' not in page.content.decode()


def test_an_empty_list_explains_and_links_to_create(staff_client):
    page = staff_client.get("/admin/ratelimits/ratelimit/").content.decode()
    assert "A rate limit says how many requests" in page
    assert "Create the first rate limit" in page
    page = staff_client.get("/admin/ratelimits/ratelimit/?q=nothing").content.decode()
    assert "No results." in page
    assert "Create the first" not in page


@pytest.mark.parametrize("term", ["alice", "ALICE", "alice@example", "xample.com"])
def test_users_are_found_by_username_and_address(staff_client, alice, term):
    assert alice in staff_client.get("/admin/accounts/user/", {"q": term, "o": ""}).context["cl"].result_list


def test_names_are_escaped_in_lists(staff_client, free):
    User.objects.create_user("evil", "e@example.com", name="<script>alert(1)</script>")
    Tier.objects.create(name="<b>tier", description='"><img src=x>')
    make_limit(free, "/<script>")
    make_key(User.objects.get(username="evil"), "<script>key")
    for place in ("accounts/user", "tiers/tier", "ratelimits/ratelimit", "apikeys/apikey"):
        page = staff_client.get(f"/admin/{place}/?o=").content.decode()
        assert "<script>alert" not in page
        assert "<b>tier" not in page
        assert "<img src=x" not in page
        assert "<script>key" not in page


def csv_rows(response):
    return list(csv.reader(io.StringIO(response.getvalue().decode("utf-8-sig"))))


def test_the_filtered_list_is_exported(staff_client, alice, bob):
    bob.delete()
    User.objects.filter(pk=alice.pk).update(name="=cmd()")
    header, *rows = csv_rows(staff_client.get("/admin/accounts/user/export/?q=alice"))
    assert header[:4] == ["ID", "name", "username", "email address"] or "username" in header
    assert [row[header.index("username")] for row in rows] == ["alice"]
    assert "'=cmd()" in rows[0]
    assert "free" in rows[0]
    deleted = csv_rows(staff_client.get("/admin/accounts/user/export/?state=deleted"))
    assert [row[header.index("username")] for row in deleted[1:]] == ["bob"]


@pytest.mark.parametrize("place", LISTS)
def test_exports_contain_no_secrets_and_take_few_queries(staff_client, place):
    LISTS[place](0)
    one = len(queries(staff_client, f"/admin/{place}/export/"))
    for number in range(1, 6):
        LISTS[place](number)
    response = staff_client.get(f"/admin/{place}/export/")
    text = response.getvalue().decode()
    assert "argon2" not in text
    assert not any(key.secret_hash in text for key in APIKey.objects.all())
    with CaptureQueriesContext(connection) as captured:
        csv_rows(staff_client.get(f"/admin/{place}/export/"))
    assert len(captured) <= one + 2


def test_selected_rows_can_be_exported(staff_client, alice, bob):
    data = {"action": "export_selected", "_selected_action": [alice.pk]}
    header, *rows = csv_rows(staff_client.post("/admin/accounts/user/", data))
    assert [row[header.index("username")] for row in rows] == ["alice"]


def test_exports_require_the_view_permission(client, free):
    client.force_login(make_staff("vera", "tiers.view_tier"))
    assert "free" in csv_rows(client.get("/admin/tiers/tier/export/"))[1]
    assert client.get("/admin/accounts/user/export/").status_code == 403


def test_an_export_with_an_invalid_filter_or_page_is_rejected(staff_client):
    for number in range(60):
        Tier.objects.create(name=f"tier {number}")
    assert staff_client.get("/admin/tiers/tier/export/?p=99").status_code == 400
    assert staff_client.get("/admin/accounts/user/export/?is_active__exact=odd").status_code == 400


def test_a_relation_outside_autocomplete_fields_is_a_select(staff_client, free, monkeypatch):
    url = reverse("admin:accounts_user_add")
    assert "admin-autocomplete" in staff_client.get(url).text
    monkeypatch.setattr(UserAdmin, "autocomplete_fields", ())
    page = staff_client.get(url).text
    assert "admin-autocomplete" not in page
    assert f'<option value="{free.pk}" selected>free</option>' in page


def test_autocomplete_offers_live_rows_only(staff_client, free):
    Tier.objects.create(name="freeze").delete()
    url = "/admin/autocomplete/?app_label=accounts&model_name=user&field_name=tier&term=fre"
    assert [row["text"] for row in staff_client.get(url).json()["results"]] == ["free"]


def test_tiers_show_and_link_to_their_users(staff_client, free, alice, bob):
    bob.delete()
    make_limit(free)
    tier = staff_client.get("/admin/tiers/tier/").context["cl"].result_list[0]
    assert (tier.user_count, tier.limit_count) == (2, 1)  # alice and sue
    page = staff_client.get("/admin/tiers/tier/").content.decode()
    link = f"/users/?tier={free.pk}"
    assert f'href="{link}"' in page
    assert set(staff_client.get(link).context["rows"]) == set(User.objects.live())


def test_states_are_shown_as_badges(staff_client, alice, bob, free):
    User.objects.filter(pk=bob.pk).update(is_active=False)
    make_user("tom", is_staff=True)
    page = staff_client.get("/admin/accounts/user/?o=").content.decode()
    for word in ("active", "suspended", "superuser", "staff"):
        assert f">{word}</span>" in page
    make_key(alice, "old", expires_at=timezone.now() - timedelta(days=1))
    make_key(alice, "off", is_active=False)
    make_key(alice, "dead", revoked_at=timezone.now())
    make_key(alice, "fine")
    page = staff_client.get("/admin/apikeys/apikey/").content.decode()
    for word in ("expired", "disabled", "revoked", "active"):
        assert f">{word}</span>" in page
    make_limit(free, "/a", mode="observe")
    make_limit(free, "/b", method="GET")
    page = staff_client.get("/admin/ratelimits/ratelimit/").content.decode()
    assert "observe only" in page
    assert ">enforced</span>" in page
    assert RateLimit.objects.count() == 2


@pytest.mark.parametrize(("method", "paths"), [("any", {"/a"}), ("GET", {"/b"}), ("PUT", set()), ("odd", set())])
def test_limits_are_filtered_by_method(staff_client, free, method, paths):
    make_limit(free, "/a")
    make_limit(free, "/b", method="GET")
    rows = staff_client.get(f"/admin/ratelimits/ratelimit/?method={method}").context["cl"].result_list
    assert {row.path for row in rows} == paths
