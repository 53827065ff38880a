"""/users/bulk/: one action on many users, after a confirmation page."""

from __future__ import annotations

import pytest

from accounts.models import User
from tests.accounts.people import ALL_USER_PERMISSIONS, history, make_key, messages, signed_in
from tests.conftest import make_user
from tests.rows import make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def pks(*users):
    return [str(user.pk) for user in users]


def effects(response):
    return " ".join(response.context["effects"])


def test_the_first_post_shows_a_confirmation_page(staff_client, alice, bob, charlie):
    make_key(alice)
    bob.suspend()
    response = staff_client.post("/users/bulk/", {"action": "suspend", "pk": pks(alice, bob)})
    assert response.status_code == 200
    assert response.context["count"] == 1
    assert response.context["unfit"] == 1
    assert "1 API key will stop working" in effects(response)
    alice.refresh_from_db()
    assert alice.is_active


def test_the_second_post_changes_the_users_and_is_recorded(staff_client, sue, alice, bob, charlie):
    data = {"action": "suspend", "pk": pks(alice, bob), "expected": "2"}
    response = staff_client.post("/users/bulk/?sort=username", data, follow=True, REMOTE_ADDR="192.0.2.9")
    assert response.redirect_chain == [("/users/?sort=username", 302)]
    assert messages(response) == ["2 users suspended."]
    assert set(User.objects.suspended()) == {alice, bob}
    for user in (alice, bob):
        (entry,) = history(user)
        assert entry.summary == "Suspended."
        assert entry.values == [{"field": "active", "old": "yes", "new": "no"}]
        assert entry.ip == "192.0.2.9"


def test_all_matching_users_can_be_moved_to_another_tier(staff_client, free, pro):
    gold = Tier.objects.create(name="gold")
    for n in range(7):
        make_user(f"mover{n}", tier=gold if n == 0 else free)
    stays = make_user("stays", tier=free)
    data = {"action": "tier", "tier": str(pro.pk), "everything": "1"}
    asked = staff_client.post("/users/bulk/?q=mover", data)
    assert asked.context["count"] == 7
    assert asked.context["effects"][:-1] == ["6 users from free", "1 user from gold"]
    done = staff_client.post("/users/bulk/?q=mover", data | {"expected": "7"}, follow=True)
    assert messages(done) == ["7 users moved to pro."]
    assert User.objects.filter(tier=pro).count() == 7
    stays.refresh_from_db()
    assert stays.tier == free
    first = User.objects.get(username="mover0")
    assert history(first)[0].values == [{"field": "tier", "old": "gold", "new": "pro"}]


def test_selecting_all_matching_users_ignores_selected_rows(staff_client, alice, bob, pro):
    data = {"action": "tier", "tier": str(pro.pk), "everything": "1", "pk": pks(alice), "expected": "2"}
    staff_client.post("/users/bulk/?staff=no", data)
    assert User.objects.filter(tier=pro).count() == 2


def test_users_can_be_moved_to_no_tier(staff_client, alice):
    staff_client.post("/users/bulk/", {"action": "tier", "tier": "", "pk": pks(alice), "expected": "1"})
    alice.refresh_from_db()
    assert alice.tier is None
    assert history(alice)[0].values == [{"field": "tier", "old": "free", "new": "–"}]


def test_a_changed_selection_is_confirmed_again(staff_client, alice, bob):
    data = {"action": "delete", "everything": "1", "expected": "1"}
    response = staff_client.post("/users/bulk/?staff=no", data)
    assert "The selection has changed since you confirmed." in response.content.decode()
    assert response.context["count"] == 2
    assert User.objects.deleted().count() == 0


def test_restoring_users_reports_those_with_a_taken_username(staff_client, alice, bob):
    alice.delete()
    bob.delete()
    make_user("bob")
    data = {"action": "restore", "everything": "1", "expected": "2"}
    response = staff_client.post("/users/bulk/?state=deleted", data, follow=True)
    told = messages(response)
    assert any("User “bob” can't be restored" in message for message in told)
    assert "1 user restored." in told
    alice.refresh_from_db()
    assert alice.deleted_at is None
    assert history(alice)[0].summary == "Restored."


def test_many_errors_are_summarized(staff_client, free):
    for n in range(8):
        make_user(f"twin{n}").delete()
        make_user(f"twin{n}")
    data = {"action": "restore", "everything": "1", "expected": "8"}
    told = messages(staff_client.post("/users/bulk/?state=deleted", data, follow=True))
    assert len(told) == 6
    assert told[-1].startswith("3 users more couldn't be changed")


def test_the_page_counts_users_that_staff_cannot_change(alice, sue):
    steve = make_staff("steve", *ALL_USER_PERMISSIONS)
    data = {"action": "suspend", "everything": "1"}
    client = signed_in(steve)
    asked = client.post("/users/bulk/", data)
    assert (asked.context["count"], asked.context["forbidden"]) == (1, 2)
    client.post("/users/bulk/", data | {"expected": "1"})
    assert list(User.objects.suspended()) == [alice]


def test_bulk_actions_skip_the_superuser_who_runs_them(staff_client, sue, alice):
    for action in ("suspend", "delete"):
        staff_client.post("/users/bulk/?state=all", {"action": action, "everything": "1", "expected": "1"})
    sue.refresh_from_db()
    assert sue.is_effective
    alice.refresh_from_db()
    assert not alice.is_active
    assert alice.deleted_at


@pytest.mark.parametrize(
    ("permission", "action", "status"),
    [
        ("change_user", "suspend", 200),
        ("change_user", "delete", 403),
        ("change_user", "restore", 403),
        ("delete_user", "delete", 200),
        ("delete_user", "suspend", 403),
        ("delete_user", "tier", 403),
    ],
)
def test_each_action_requires_its_permission(alice, permission, action, status):
    client = signed_in(make_staff("steve", "view_user", permission))
    assert client.post("/users/bulk/", {"action": action, "pk": pks(alice)}).status_code == status


def test_a_deleted_tier_cannot_be_chosen(staff_client, alice, pro):
    pro.delete()
    data = {"action": "tier", "tier": str(pro.pk), "pk": pks(alice), "expected": "1"}
    response = staff_client.post("/users/bulk/", data, follow=True)
    assert messages(response) == ["Choose a tier from the list."]
    alice.refresh_from_db()
    assert alice.tier.name == "free"


@pytest.mark.parametrize(
    "data",
    [
        {}, {"action": "suspend"}, {"action": "erase", "everything": "1"}, {"action": "suspend", "pk": "x"},
        {"action": "suspend", "pk": "99999999999999999999999999"}, {"action": "suspend", "pk": "-1"},
        {"action": "suspend", "pk": "１"}, {"action": "suspend", "pk": "1", "expected": "x"},
        {"action": "suspend", "pk": "1", "expected": "-1"}, {"action": "tier", "tier": "x", "everything": "1"},
        {"action": "suspend", "pk": "9" * 5000}, {"action": "\x00", "everything": "1"},
    ],
)  # fmt: skip
def test_invalid_input_changes_nothing(staff_client, alice, data):
    assert staff_client.post("/users/bulk/?q=x", data).status_code in {200, 302}
    assert not User.objects.suspended().exists()


def test_get_is_not_allowed(staff_client):
    assert staff_client.get("/users/bulk/").status_code == 405


def test_the_page_says_when_there_is_nothing_to_do(staff_client, alice):
    page = staff_client.post("/users/bulk/", {"action": "restore", "pk": pks(alice)}).content.decode()
    assert "There is nothing to change." in page
    assert "Skipped: 1 user that this doesn" in page


def test_500_users_are_moved_in_few_queries(staff_client, free, pro, django_assert_max_num_queries):
    User.objects.bulk_create(
        User(username=f"u{n}", email=f"u{n}@example.com", name=f"User {n}", tier=free) for n in range(500)
    )
    data = {"action": "tier", "tier": str(pro.pk), "everything": "1", "expected": "500"}
    with django_assert_max_num_queries(20):
        staff_client.post("/users/bulk/?staff=no", data)
    assert User.objects.filter(tier=pro).count() == 500
