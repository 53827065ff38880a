"""/users/: search, filters, sorting and contents of the list."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.addresses import set_address
from accounts.models import User
from accounts.staff.filters import UserFilter
from tests.accounts.people import make_key, signed_in
from tests.conftest import make_user
from tests.rows import make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def names(client, query=""):
    return [user.username for user in client.get(f"/users/{query}").context["rows"]]


def found(client, query):
    return set(names(client, query)) - {"sue"}


def test_search_finds_parts_of_names_and_addresses_in_any_case(staff_client, alice, bob):
    User.objects.filter(pk=bob.pk).update(name="Robert Müller")
    assert found(staff_client, "?q=LICE@EXAM") == {"alice"}
    assert found(staff_client, "?q=bob") == {"bob"}
    assert found(staff_client, "?q=müller") == {"bob"}
    assert found(staff_client, "?q=MÜLLER") == {"bob"}
    assert found(staff_client, "?q=nobody") == set()


def test_search_requires_every_word(staff_client, alice, bob):
    assert found(staff_client, "?q=alice+example") == {"alice"}
    assert found(staff_client, "?q=alice+bob") == set()


def test_search_treats_sql_wildcards_as_text(staff_client, alice):
    make_user("al_ce")
    assert found(staff_client, "?q=al_ce") == {"al_ce"}
    assert found(staff_client, "?q=%25") == set()


def test_filter_by_state(staff_client, alice, bob, charlie):
    alice.delete()
    bob.suspend()
    assert found(staff_client, "") == {"bob", "charlie"}
    assert found(staff_client, "?state=active") == {"charlie"}
    assert found(staff_client, "?state=suspended") == {"bob"}
    assert found(staff_client, "?state=deleted") == {"alice"}
    assert found(staff_client, "?state=all") == {"alice", "bob", "charlie"}


def test_filter_by_tier(staff_client, alice, bob, charlie):
    pro = Tier.objects.create(name="pro")
    User.objects.filter(pk=bob.pk).update(tier=pro)
    User.objects.filter(pk=charlie.pk).update(tier=None)
    assert found(staff_client, f"?tier={pro.pk}") == {"bob"}
    assert found(staff_client, "?tier=null") == {"charlie"}


def test_filter_by_staff(staff_client, alice):
    make_staff("steve")
    assert set(names(staff_client, "?staff=yes")) == {"steve", "sue"}
    assert names(staff_client, "?staff=super") == ["sue"]
    assert names(staff_client, "?staff=no") == ["alice"]


def test_filter_by_verified_uses_the_current_address(staff_client, alice, bob):
    set_address(alice, verified=True)
    set_address(bob, verified=True)
    User.objects.filter(pk=bob.pk).update(email="moved@example.com")
    assert found(staff_client, "?verified=yes") == {"alice"}
    assert found(staff_client, "?verified=no") == {"bob"}


def test_filter_by_keys_ignores_deleted_and_revoked_keys(staff_client, alice, bob, charlie):
    make_key(alice)
    make_key(bob, revoked_at=timezone.now())
    make_key(charlie).delete()
    assert found(staff_client, "?keys=yes") == {"alice"}
    assert found(staff_client, "?keys=no") == {"bob", "charlie"}


def test_date_ranges_include_both_days(staff_client, alice, bob):
    User.objects.filter(pk=alice.pk).update(created_at=datetime(2026, 3, 1, 23, 59, tzinfo=UTC))
    User.objects.filter(pk=bob.pk).update(
        created_at=datetime(2026, 3, 3, tzinfo=UTC), last_login=datetime(2026, 4, 5, 12, tzinfo=UTC)
    )
    assert found(staff_client, "?joined_from=2026-03-01&joined_to=2026-03-01") == {"alice"}
    assert found(staff_client, "?joined_from=2026-03-02&joined_to=2026-03-31") == {"bob"}
    assert found(staff_client, "?seen_from=2026-04-05&seen_to=2026-04-05") == {"bob"}
    assert found(staff_client, "?seen_to=9999-12-31&seen_from=0001-01-01") == {"bob"}


def test_newest_users_come_first_by_default(staff_client, sue):
    for place, name in enumerate(("anna", "carl", "berta")):
        user = make_user(name)
        seen = timezone.now() - timedelta(days=place) if name != "berta" else None
        User.objects.filter(pk=user.pk).update(created_at=timezone.now() + timedelta(hours=place + 1), last_login=seen)
    assert names(staff_client, "?staff=no") == ["berta", "carl", "anna"]
    assert names(staff_client, "?staff=no&sort=username") == ["anna", "berta", "carl"]
    assert names(staff_client, "?staff=no&sort=-username") == ["carl", "berta", "anna"]
    assert names(staff_client, "?staff=no&sort=-seen") == ["anna", "carl", "berta"]
    assert names(staff_client, "?staff=no&sort=seen") == ["carl", "anna", "berta"]
    assert names(staff_client, "?staff=no&sort=password") == ["berta", "carl", "anna"]


@pytest.mark.parametrize("sort", ["name", "email", "tier", "joined", "-tier", "-email"])
def test_every_column_can_be_sorted(staff_client, alice, bob, sort):
    response = staff_client.get(f"/users/?sort={sort}")
    assert len(response.context["rows"]) == 3
    direction = "descending" if sort.startswith("-") else "ascending"
    assert f'aria-sort="{direction}"' in response.content.decode()


def test_a_heading_links_to_the_reverse_order_and_keeps_filters(staff_client, alice):
    page = staff_client.get("/users/?q=alice&sort=email&page=1").content.decode()
    assert 'href="?q=alice&amp;sort=-email"' in page


def test_active_filters_are_chips_that_remove_them(staff_client, alice):
    tier = Tier.objects.get(name="free")
    response = staff_client.get(f"/users/?q=ali&tier={tier.pk}&keys=no&page=1")
    chips = {chip.label: (chip.value, chip.query) for chip in response.context["filter"].bar.chips}
    assert chips == {
        "Search": ("ali", f"tier={tier.pk}&keys=no"),
        "Tier": ("free", "q=ali&keys=no"),
        "Has keys": ("No", f"q=ali&tier={tier.pk}"),
    }


def test_pages_have_the_chosen_size_and_keep_filters(staff_client):
    User.objects.bulk_create(User(username=f"u{n:03}", email=f"u{n}@example.com", name=f"User {n}") for n in range(60))
    User.objects.filter(username="sue").update(rows_per_page=25)
    first = staff_client.get("/users/?staff=no&sort=username")
    assert [user.username for user in first.context["rows"]][:2] == ["u000", "u001"]
    assert "60 users" in first.content.decode()
    assert "?staff=no&amp;sort=username&amp;page=2" in first.content.decode()
    third = staff_client.get("/users/?staff=no&sort=username&page=3")
    assert [user.username for user in third.context["rows"]] == [f"u{n:03}" for n in range(50, 60)]


@pytest.mark.parametrize("count", [1, 30])
def test_the_number_of_queries_does_not_grow_with_the_rows(
    client, sue, django_assert_max_num_queries, django_assert_num_queries, count
):
    users = User.objects.bulk_create(
        User(username=f"u{n}", email=f"u{n}@example.com", name=f"User {n}", tier=sue.tier) for n in range(count)
    )
    for user in users:
        make_key(user)
    client.force_login(sue)
    client.get("/users/")
    # Session, user; tiers for the filter and the bulk bar; bulk changes; is there more, the count, the page, its rows, their
    # limits.
    with django_assert_num_queries(12):
        response = client.get("/users/")
    assert len(response.context["rows"]) == count + 1
    assert response.context["rows"][-1].key_count == (0 if response.context["rows"][-1] == sue else 1)


def test_long_lists_show_a_capped_count(staff_client, monkeypatch):
    monkeypatch.setattr("config.base.paginator.MAX_COUNTED", 2)
    for name in ("anna", "berta", "carl"):
        make_user(name)
    assert "More than 2 users" in staff_client.get("/users/").content.decode()


def test_names_are_escaped(staff_client, alice):
    User.objects.filter(pk=alice.pk).update(
        name="<script>alert(1)</script>", email='"><img src=x onerror=alert(1)>@example.com'
    )
    page = staff_client.get("/users/?q=%3Cscript%3E").content.decode()
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_an_empty_result_shows_a_message(staff_client):
    page = staff_client.get("/users/?q=nobody").content.decode()
    assert "No results." in page
    assert "Deleted users are hidden." in page
    assert "Create the first user" not in page


@pytest.mark.parametrize(
    "query",
    [
        "?page=0", "?page=x", "?page=99999999999999999999", "?sort=--x", "?sort=password",
        "?tier=abc", "?tier=99999999999999999999999", "?state=evil", "?staff=maybe", "?joined_from=yesterday",
        "?seen_to=2026-02-31", "?q=" + "x" * 5000, "?q=%ED%A0%80", "?q='%22%3B--", "?keys=%F0%9F%92%A9", "?unknown=1",
        "?q=a&q=b", "?joined_from=0000-00-00", "?q=%0A%00", "?tier=%00",
    ],
)  # fmt: skip
def test_invalid_queries_are_handled(staff_client, alice, query):
    response = staff_client.get(f"/users/{query}")
    assert response.status_code == (400 if "%00" in query else 200)


def test_an_invalid_filter_value_is_a_field_error(staff_client):
    page = staff_client.get("/users/?joined_from=yesterday").content.decode()
    assert "Enter a valid date." in page


def test_bulk_actions_require_permission(alice):
    page = signed_in(make_staff("steve", "view_user")).get("/users/").content.decode()
    assert "With selected" not in page
    assert "Create user" not in page
    assert 'name="export" value="xlsx"' in page


@pytest.mark.parametrize("sort", ["seen", "-seen"])
def test_sorting_by_last_seen_uses_an_index(alice, sort):
    users = UserFilter({"sort": sort}, queryset=User.objects.all()).qs[:50]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_sort = off")
            cursor.execute("SET LOCAL enable_seqscan = off")
    plan = users.explain()
    assert "_seen" in plan
    assert "Sort" not in plan
    assert "TEMP B-TREE" not in plan
