"""A form that was open while someone else made changes saves only the user's own changes, and reports conflicts."""

from __future__ import annotations

import threading
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from accounts import services as accounts
from accounts.models import User
from apikeys import services as keys
from apikeys.models import APIKey, KeyPermission
from config.base.history import CHANGE, Author, Change
from config.base.stale import TOKEN, ConcurrentChange, EditForm, StaleRows
from config.base.views import MAX_ATTEMPTS, retry_on_conflict
from ratelimits.models import RateLimit
from tests.accounts.people import signed_in
from tests.conftest import make_user
from tests.pages import fields_of, opened
from tests.rows import make_key, make_limit, make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db

ADMIN = "/admin/{}/{}/change/"


def send(client, url, fields, **changes):
    return client.post(url, fields | changes)


def shown(response):
    return unescape(response.content.decode())


class Page:
    """An edit form: its URL and row, a field that the user changes, and a field that someone else changes meanwhile."""

    def __init__(self, url, row, mine, theirs, *, owner=False):
        self.url, self.row, self.owner = url, row, owner
        (self.mine, self.my_value), (self.theirs, self.their_value) = mine, theirs


def user_page(alice, pro):
    return Page(ADMIN.format("accounts/user", alice.pk), alice, ("name", "Mine"), ("is_active", False))


def user_tier_page(alice, pro):
    return Page(ADMIN.format("accounts/user", alice.pk), alice, ("name", "Mine"), ("tier", pro))


def staff_page(alice, pro):
    return Page(f"/users/{alice.pk}/edit/", alice, ("name", "Mine"), ("tier", pro))


def staff_email_page(alice, pro):
    return Page(f"/users/{alice.pk}/edit/", alice, ("username", "mine"), ("email", "theirs@example.com"))


def profile_page(alice, pro):
    return Page("/account/", alice, ("name", "Mine"), ("username", "theirs"), owner=True)


def tier_page(alice, pro):
    return Page(ADMIN.format("tiers/tier", pro.pk), pro, ("name", "mine"), ("description", "theirs"))


def limit_page(alice, pro):
    return (
        Page(ADMIN.format("ratelimits/ratelimit", limit.pk), limit, ("limit", "7"), ("mode", "observe"))
        if (limit := make_limit(pro, name="mine"))
        else None
    )


def key_page(alice, pro):
    key = make_key(alice)
    return Page(ADMIN.format("apikeys/apikey", key.pk), key, ("name", "mine"), ("allowed_ips", ["192.0.2.0/24"]))


def key_notes_page(alice, pro):
    key = make_key(alice)
    return Page(ADMIN.format("apikeys/apikey", key.pk), key, ("name", "mine"), ("metadata", {"a": [1, "b"]}))


def own_key_page(alice, pro):
    key = make_key(alice)
    theirs = ("allowed_ips", ["192.0.2.0/24", "2001:db8::/32"])
    return Page(f"/account/keys/{key.pk}/edit/", key, ("name", "mine"), theirs, owner=True)


PAGES = (
    user_page, user_tier_page, staff_page, staff_email_page, profile_page, tier_page, limit_page, key_page, key_notes_page,
    own_key_page,
)  # fmt: skip


@pytest.fixture(params=PAGES, ids=lambda make: make.__name__)
def page(request, alice, pro):
    return request.param(alice, pro)


@pytest.fixture
def user_client(page, alice, sue):
    return signed_in(alice if page.owner else sue)


def stored(row, name):
    row.refresh_from_db()
    return getattr(row, name)


def change(row, name, value):
    """Change only this column, as another user's request would."""
    type(row)._default_manager.filter(pk=row.pk).update(**{name: value})


def columns(row):
    values = type(row)._default_manager.filter(pk=row.pk).values().get()
    return {name: value for name, value in values.items() if name != "updated_at"}


class TestEveryForm:
    def test_another_users_changes_are_kept(self, page, user_client):
        fields = opened(user_client, page.url, page.mine)
        change(page.row, page.theirs, page.their_value)
        assert send(user_client, page.url, fields, **{page.mine: page.my_value}).status_code == 302
        assert str(stored(page.row, page.mine)) == page.my_value
        assert stored(page.row, page.theirs) == page.their_value

    def test_saving_without_changes_writes_nothing(self, page, user_client):
        fields = opened(user_client, page.url, page.mine)
        change(page.row, page.theirs, page.their_value)
        change(page.row, page.mine, "7" if page.mine == "limit" else "theirs_too")
        before = columns(page.row)
        assert user_client.post(page.url, fields).status_code == 302
        assert columns(page.row) == before

    def test_a_field_that_both_changed_is_reported_as_conflict(self, page, user_client):
        fields = opened(user_client, page.url, page.mine)
        theirs = 9 if page.mine == "limit" else "theirs_instead"
        change(page.row, page.mine, theirs)
        response = send(user_client, page.url, fields, **{page.mine: page.my_value})
        assert response.status_code in {200, 400}
        assert f"changed this to “{theirs}”, while you had this page open. Save again to overwrite" in shown(response)
        assert f'value="{page.my_value}"' in shown(response)
        assert stored(page.row, page.mine) == theirs

    def test_saving_again_overwrites(self, page, user_client):
        fields = opened(user_client, page.url, page.mine)
        change(page.row, page.mine, 9 if page.mine == "limit" else "theirs_instead")
        change(page.row, page.theirs, page.their_value)
        response = send(user_client, page.url, fields, **{page.mine: page.my_value})
        again = opened_in(response, page.mine)
        assert user_client.post(page.url, again).status_code == 302
        assert str(stored(page.row, page.mine)) == page.my_value
        assert stored(page.row, page.theirs) == page.their_value

    def test_the_same_change_by_both_is_no_conflict(self, page, user_client):
        fields = opened(user_client, page.url, page.mine)
        change(page.row, page.mine, page.my_value)
        assert send(user_client, page.url, fields, **{page.mine: page.my_value}).status_code == 302

    @pytest.mark.parametrize("token", ["x", "x:y:z"])
    def test_an_invalid_token_shows_the_form_again(self, page, user_client, token):
        fields = opened(user_client, page.url, page.mine)
        response = send(user_client, page.url, fields, **{page.mine: page.my_value, TOKEN: token})
        assert "We can't tell what this page looked like when you opened it." in shown(response)
        assert str(stored(page.row, page.mine)) != page.my_value
        assert user_client.post(page.url, opened_in(response, page.mine)).status_code == 302
        assert str(stored(page.row, page.mine)) == page.my_value

    def test_a_form_without_a_token_is_compared_with_the_current_row(self, page, user_client):
        fields = opened(user_client, page.url, page.mine)
        del fields[TOKEN]
        assert send(user_client, page.url, fields, **{page.mine: page.my_value}).status_code == 302
        assert str(stored(page.row, page.mine)) == page.my_value

    def test_a_change_between_validation_and_saving_is_validated_again(self, page, user_client, monkeypatch):
        fields = opened(user_client, page.url, page.mine)
        lock, calls = EditForm.lock_row, []

        def change_then_lock(form):
            if not calls:
                change(page.row, page.theirs, page.their_value)
            calls.append(form)
            lock(form)

        monkeypatch.setattr(EditForm, "lock_row", change_then_lock)
        assert send(user_client, page.url, fields, **{page.mine: page.my_value}).status_code == 302
        assert str(stored(page.row, page.mine)) == page.my_value
        # The form of a key locks its row before it reads.
        assert len(calls) == (0 if isinstance(page.row, APIKey) else 2)


def opened_in(response, name):
    return fields_of(response.content.decode(), name)


def test_a_token_of_another_row_is_invalid(staff_client, alice, bob):
    fields = opened(staff_client, f"/users/{alice.pk}/edit/")
    fields[TOKEN] = opened(staff_client, f"/users/{bob.pk}/edit/")[TOKEN]
    assert "We can't tell" in shown(send(staff_client, f"/users/{alice.pk}/edit/", fields, name="Mine"))
    assert stored(alice, "name") == "Alice"


class TestUsers:
    @pytest.mark.parametrize("url", [ADMIN.format("accounts/user", "{}"), "/users/{}/edit/"])
    def test_a_user_suspended_meanwhile_stays_suspended(self, alice, sue, url):
        support = signed_in(make_staff("stan", "accounts.view_user", "accounts.change_user"))
        key = make_key(alice)
        fields = opened(support, url.format(alice.pk))
        accounts.suspend(User.objects.filter(pk=alice.pk), Author(sue))
        epoch = stored(alice, "session_epoch")
        assert send(support, url.format(alice.pk), fields, name="Alice New").status_code == 302
        assert (stored(alice, "is_active"), alice.name, alice.session_epoch) == (False, "Alice New", epoch)
        headers = {
            "X-API-Key": key.secret,
            "X-Original-Method": "GET",
            "X-Original-URI": "/orders",
            "X-Real-IP": "192.0.2.1",
        }
        assert Client().get("/authz/nginx", headers=headers)["X-Auth-Reason"] == "owner_inactive"

    def test_the_conflict_names_who_made_the_change(self, alice, sue, pro):
        bob = make_user("bobby", is_staff=True, is_superuser=True)
        client = signed_in(sue)
        fields = opened(client, f"/users/{alice.pk}/edit/")
        accounts.set_tier(User.objects.filter(pk=alice.pk), Author(bob), pro)
        response = send(client, f"/users/{alice.pk}/edit/", fields, tier="")
        assert "bobby changed this to “pro” just now, while you had this page open." in shown(response)
        assert stored(alice, "tier") == pro

    def test_the_conflict_names_no_one_without_a_matching_history_entry(self, alice, sue):
        client = signed_in(sue)
        author = Author(sue)
        author.record(alice, CHANGE, changes=[Change(field="name", old="x", new="y")])
        fields = opened(client, f"/users/{alice.pk}/edit/")
        change(alice, "name", "Other")
        assert "Someone changed this to “Other”, while" in shown(
            send(client, f"/users/{alice.pk}/edit/", fields, name="Mine")
        )

    def test_permissions_gained_meanwhile_do_not_clear_fields_missing_from_the_form(self, alice, sue):
        stan = make_staff("stan", "accounts.view_user", "accounts.change_user")
        client = signed_in(stan)
        alice.groups.add(Group.objects.create(name="g"))
        url = ADMIN.format("accounts/user", alice.pk)
        fields = opened(client, url)
        assert "email" not in fields
        User.objects.filter(pk=stan.pk).update(is_superuser=True)
        User.objects.filter(pk=alice.pk).update(is_staff=True)
        assert send(client, url, fields, name="Mine").status_code == 302
        alice.refresh_from_db()
        assert (alice.name, alice.email, alice.is_staff) == ("Mine", "alice@example.com", True)
        assert alice.groups.count() == 1


class TestDeletedRows:
    @pytest.mark.parametrize("make", [user_page, tier_page, limit_page, key_page], ids=lambda make: make.__name__)
    def test_a_row_deleted_meanwhile_shows_a_message(self, staff_client, alice, pro, make):
        page = make(alice, pro)
        fields = opened(staff_client, page.url, page.mine)
        page.row.delete()
        response = staff_client.post(page.url, fields | {page.mine: page.my_value}, follow=True)
        assert response.status_code == 200
        assert "has been deleted. Nothing was saved." in shown(response)
        assert str(stored(page.row, page.mine)) != page.my_value
        assert page.row.deleted_at is not None

    def test_a_post_to_a_deleted_row_without_a_token_is_forbidden(self, staff_client, pro):
        pro.delete()
        assert staff_client.post(ADMIN.format("tiers/tier", pro.pk), {"name": "x"}).status_code == 403

    def test_a_deleted_row_requires_permission(self, pro):
        client = signed_in(make_staff("stan", "tiers.view_tier"))
        pro.delete()
        assert client.post(ADMIN.format("tiers/tier", pro.pk), {"name": "x", TOKEN: "x"}).status_code == 403
        assert client.post(ADMIN.format("tiers/tier", 999), {"name": "x", TOKEN: "x"}).status_code in {403, 404}

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"revoked_at": timezone.now()}, "This key is revoked permanently."),
            ({"expires_at": timezone.now() - timedelta(days=1)}, "This key has expired."),
        ],
    )
    def test_a_key_that_ended_meanwhile_shows_a_message(self, alice, sue, values, message):
        key = make_key(alice)
        for client, url in (
            (signed_in(sue), ADMIN.format("apikeys/apikey", key.pk)),
            (signed_in(alice), f"/account/keys/{key.pk}/edit/"),
        ):
            APIKey.objects.update(revoked_at=None, expires_at=None)
            fields = opened(client, url)
            APIKey.objects.update(**values)
            assert message in shown(client.post(url, fields | {"name": "late"}, follow=True))
            assert stored(key, "name") == "a key"

    def test_a_removed_row_is_not_found(self, staff_client, free):
        group = Group.objects.create(name="g")
        url = ADMIN.format("auth/group", group.pk)
        fields = opened(staff_client, url)
        group.delete()
        assert staff_client.post(url, fields).status_code == 404
        assert not Group.objects.filter(name="g").exists()


class TestManyToMany:
    @pytest.fixture
    def group(self, db):
        group = Group.objects.create(name="g")
        group.permissions.set(Permission.objects.filter(codename__in=["view_tier", "view_user"]))
        return group

    def codenames(self, group):
        return set(group.permissions.values_list("codename", flat=True))

    def test_a_permission_removed_meanwhile_stays_removed(self, staff_client, group):
        url = ADMIN.format("auth/group", group.pk)
        fields = opened(staff_client, url)
        group.permissions.remove(Permission.objects.get(codename="view_user"))
        assert send(staff_client, url, fields, name="renamed").status_code == 302
        group.refresh_from_db()
        assert (group.name, self.codenames(group)) == ("renamed", {"view_tier"})

    def test_permissions_that_both_changed_are_a_conflict(self, staff_client, group):
        url = ADMIN.format("auth/group", group.pk)
        fields = opened(staff_client, url)
        kept = Permission.objects.get(codename="view_user")
        added = Permission.objects.get(codename="view_ratelimit")
        group.permissions.set([kept])
        response = send(staff_client, url, fields, permissions=[added.pk])
        assert f"Someone changed this to “{kept}”" in shown(response)
        assert self.codenames(group) == {"view_user"}
        again = opened_in(response, "name")
        assert again["permissions"] == [str(added.pk)]
        assert staff_client.post(url, again).status_code == 302
        assert self.codenames(group) == {"view_ratelimit"}

    def test_a_group_added_meanwhile_is_kept(self, staff_client, alice, group):
        url = ADMIN.format("accounts/user", alice.pk)
        fields = opened(staff_client, url)
        alice.groups.add(group)
        assert send(staff_client, url, fields, name="Mine").status_code == 302
        assert list(alice.groups.all()) == [group]

    def test_long_values_are_truncated(self, staff_client, group):
        url = ADMIN.format("auth/group", group.pk)
        fields = opened(staff_client, url)
        group.permissions.set(Permission.objects.all()[:40])
        assert "…”" in shown(send(staff_client, url, fields, permissions=[]))


class TestTierPage:
    def test_saving_without_changes_keeps_another_users_change(self, staff_client, alice, pro):
        url = f"/users/{alice.pk}/tier/"
        fields = opened(staff_client, url, "tier")
        change(alice, "tier", pro)
        staff_client.post(url, fields)
        assert stored(alice, "tier") == pro

    def test_another_choice_is_a_conflict(self, staff_client, alice, pro):
        url = f"/users/{alice.pk}/tier/"
        fields = opened(staff_client, url, "tier")
        change(alice, "tier", pro)
        response = send(staff_client, url, fields, tier="")
        assert "Someone changed this to “pro”" in shown(response)
        assert staff_client.post(url, opened_in(response, "tier")).status_code == 302
        assert stored(alice, "tier") is None


class TestOwnKeyPermissions:
    @pytest.fixture
    def key(self, alice):
        return make_key(alice, allow=("read /orders/*", "read /reports"))

    def permissions_of(self, key):
        return {f"{row.action} {row.resource}" for row in KeyPermission.objects.filter(api_key=key)}

    def test_a_permission_removed_meanwhile_stays_removed(self, alice, key, sue):
        client, url = signed_in(alice), f"/account/keys/{key.pk}/edit/"
        fields = opened(client, url)
        keys.edit_key(key, Author(sue), permissions=[("read", "/orders/*")])
        assert send(client, url, fields, name="renamed").status_code == 302
        assert self.permissions_of(key) == {"read /orders/*"}
        assert stored(key, "name") == "renamed"

    def test_permissions_changed_by_both_are_a_conflict(self, alice, key, sue):
        client, url = signed_in(alice), f"/account/keys/{key.pk}/edit/"
        fields = opened(client, url)
        keys.edit_key(key, Author(sue), permissions=[("read", "/orders/*")])
        response = send(client, url, fields, **{"permissions-1-actions": ["read", "create"]})
        assert "sue changed this to “read /orders/*” just now" in shown(response)
        assert self.permissions_of(key) == {"read /orders/*"}
        again = opened_in(response, "name")
        assert again["permissions-1-actions"] == ["read", "create"]
        assert client.post(url, again).status_code == 302
        assert self.permissions_of(key) == {"read /orders/*", "read /reports", "create /reports"}

    def test_the_same_change_by_both_is_no_conflict(self, alice, key, sue):
        client, url = signed_in(alice), f"/account/keys/{key.pk}/edit/"
        fields = opened(client, url)
        keys.edit_key(key, Author(sue), permissions=[("*", "*")])
        fields = {name: value for name, value in fields.items() if not name.startswith("permissions-")}
        assert send(client, url, fields, allow="everything").status_code == 302
        assert self.permissions_of(key) == {"* *"}

    def test_the_form_with_other_errors_shows_current_permissions(self, alice, key, sue):
        client, url = signed_in(alice), f"/account/keys/{key.pk}/edit/"
        fields = opened(client, url)
        keys.edit_key(key, Author(sue), permissions=[("*", "*")])
        again = opened_in(send(client, url, fields, name=""), "name")
        assert again["allow"] == ["everything"]
        assert client.post(url, again | {"name": "renamed"}).status_code == 302
        assert self.permissions_of(key) == {"* *"}


class TestInlineRows:
    @pytest.fixture
    def tier(self, pro):
        for path in ("/a", "/b"):
            make_limit(pro, path, limit=1, name=path[1:])
        return pro

    @pytest.fixture
    def url(self, tier):
        return ADMIN.format("tiers/tier", tier.pk)

    def limits_of(self, tier):
        return {f"{row.limit} {row.path}" for row in tier.rate_limits.live()}

    def row(self, fields, resource):
        found = next(name for name, value in fields.items() if name.endswith("-path") and value == [resource])
        return found.removesuffix("path")

    def test_a_row_removed_meanwhile_stays_removed(self, staff_client, tier, url):
        fields = opened(staff_client, url)
        RateLimit.objects.filter(path="/a").delete()
        assert send(staff_client, url, fields, name="renamed").status_code == 302
        assert (self.limits_of(tier), stored(tier, "name")) == ({"1 /b"}, "renamed")

    def test_a_row_changed_meanwhile_is_kept(self, staff_client, tier, url):
        fields = opened(staff_client, url)
        RateLimit.objects.filter(path="/a").update(limit=3)
        assert send(staff_client, url, fields, name="renamed").status_code == 302
        assert self.limits_of(tier) == {"3 /a", "1 /b"}

    def test_a_row_added_meanwhile_is_kept(self, staff_client, tier, url):
        fields = opened(staff_client, url)
        make_limit(tier, "/c", limit=4, name="c")
        fields[self.row(fields, "/b") + "limit"] = "2"
        assert staff_client.post(url, fields).status_code == 302
        assert self.limits_of(tier) == {"1 /a", "2 /b", "4 /c"}

    def test_a_row_that_both_changed_is_a_conflict(self, staff_client, tier, url, alice):
        fields = opened(staff_client, url)
        RateLimit.objects.filter(path="/a").update(limit=3)
        Author(alice).record(tier, CHANGE, note="Changed permission.")
        fields[self.row(fields, "/a") + "limit"] = "2"
        response = staff_client.post(url, fields)
        assert "alice changed a row to “a” while you had this page open." in shown(response)
        assert self.limits_of(tier) == {"3 /a", "1 /b"}
        assert staff_client.post(url, opened_in(response, "name")).status_code == 302
        assert self.limits_of(tier) == {"2 /a", "1 /b"}

    def test_the_same_change_of_a_row_is_no_conflict(self, staff_client, tier, url):
        fields = opened(staff_client, url)
        RateLimit.objects.filter(path="/a").update(limit=3)
        fields[self.row(fields, "/a") + "limit"] = "3"
        assert staff_client.post(url, fields).status_code == 302
        assert self.limits_of(tier) == {"3 /a", "1 /b"}

    def test_removing_a_row_changed_meanwhile_is_a_conflict(self, staff_client, tier, url):
        fields = opened(staff_client, url)
        RateLimit.objects.filter(path="/a").update(limit=3)
        fields[self.row(fields, "/a") + "DELETE"] = "on"
        response = staff_client.post(url, fields)
        assert "Someone changed a row to “a”" in shown(response)
        assert staff_client.post(url, opened_in(response, "name")).status_code == 302
        assert self.limits_of(tier) == {"1 /b"}

    def test_removing_a_row_removed_meanwhile_is_no_conflict(self, staff_client, tier, url):
        fields = opened(staff_client, url)
        RateLimit.objects.filter(path="/a").delete()
        fields[self.row(fields, "/a") + "DELETE"] = "on"
        assert staff_client.post(url, fields).status_code == 302
        assert self.limits_of(tier) == {"1 /b"}

    def test_changing_a_row_removed_meanwhile_is_a_conflict(self, staff_client, tier, url):
        fields = opened(staff_client, url)
        RateLimit.objects.filter(path="/a").delete()
        fields[self.row(fields, "/a") + "limit"] = "2"
        response = staff_client.post(url, fields)
        assert "Someone removed the row that is now “/a" in shown(response)
        assert self.limits_of(tier) == {"1 /b"}
        assert staff_client.post(url, opened_in(response, "name")).status_code == 302
        assert self.limits_of(tier) == {"2 /a", "1 /b"}

    @pytest.mark.parametrize("count", ["x", "", "-1"])
    def test_an_invalid_form_count_is_handled(self, staff_client, url, count):
        fields = opened(staff_client, url)
        assert send(staff_client, url, fields, **{"rate_limits-TOTAL_FORMS": count}).status_code < 400

    def test_an_invalid_token_of_the_rows_shows_the_form_again(self, staff_client, tier, url):
        fields = opened(staff_client, url)
        response = send(staff_client, url, fields, **{f"rate_limits-{TOKEN}": "x", "name": "renamed"})
        assert "We can't tell what this page looked like" in shown(response)
        assert stored(tier, "name") == "pro"

    def test_a_row_removed_between_validation_and_saving_stays_removed(self, staff_client, tier, url, monkeypatch):
        fields = opened(staff_client, url)
        save, calls = StaleRows.save, []

        def change_then_lock(formset, *args, **options):
            if not calls:
                RateLimit.objects.filter(path="/a").delete()
            calls.append(1)
            return save(formset, *args, **options)

        monkeypatch.setattr(StaleRows, "save", change_then_lock)
        fields[self.row(fields, "/b") + "limit"] = "2"
        assert staff_client.post(url, fields).status_code == 302
        assert self.limits_of(tier) == {"2 /b"} or calls == [1, 1]


def test_a_change_between_validation_and_saving_is_validated_again(staff_client, pro, monkeypatch):
    make_limit(pro, "/a", limit=1, name="a")
    make_limit(pro, "/b", limit=1, name="b")
    make_limit(pro, "/old", limit=1, name="old").delete()
    url, save, calls = ADMIN.format("tiers/tier", pro.pk), StaleRows.save, []

    def change_then_lock(formset, *args, **options):
        calls.append(1)
        if len(calls) == 1:
            RateLimit.objects.filter(path="/a").update(limit=7)
        return save(formset, *args, **options)

    monkeypatch.setattr(StaleRows, "save", change_then_lock)
    fields = opened(staff_client, url)
    [name] = [name for name, value in fields.items() if name.endswith("-path") and value == ["/b"]]
    fields[name.removesuffix("path") + "limit"] = "2"
    assert staff_client.post(url, fields).status_code == 302
    # The first attempt was rolled back, together with the change made in its transaction.
    assert len(calls) == 2
    assert {(row.path, row.limit) for row in pro.rate_limits.live()} == {("/a", 1), ("/b", 2)}


def test_retrying_ends_after_a_number_of_attempts(rf):
    attempts = []

    @retry_on_conflict
    def view(request):
        attempts.append(1)
        raise ConcurrentChange

    with pytest.raises(ConcurrentChange):
        view(rf.post("/"))
    assert len(attempts) == MAX_ATTEMPTS


@pytest.mark.django_db(transaction=True)
def test_concurrent_saves_only_write_their_own_fields(free):
    sue, alice = make_user("sue", is_staff=True, is_superuser=True), make_user("alice", tier=free)
    pro = Tier.objects.create(name="pro")
    url, rounds, statuses = ADMIN.format("accounts/user", alice.pk), 8, []
    barrier = threading.Barrier(2)

    def work(client, changes):
        for number in range(rounds):
            try:
                fields = opened(client, url)
                barrier.wait(30)
                statuses.append(client.post(url, fields | changes(number)).status_code)
            finally:
                connections.close_all()

    threads = [
        threading.Thread(target=work, args=(signed_in(sue), lambda number: {"name": f"Name {number}"})),
        threading.Thread(target=work, args=(signed_in(sue), lambda number: {"tier": [free.pk, pro.pk][number % 2]})),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alice.refresh_from_db()
    assert statuses == [302] * rounds * 2, connection.vendor
    assert (alice.name, alice.tier) == (f"Name {rounds - 1}", pro)


def test_changing_the_window_sets_the_period(staff_client, pro):
    limit = make_limit(pro)
    url = ADMIN.format("ratelimits/ratelimit", limit.pk)
    assert send(staff_client, url, opened(staff_client, url), window="month").status_code == 302
    limit = RateLimit.objects.get(pk=limit.pk)
    assert (limit.window, limit.period) == ("month", 2_678_400)
