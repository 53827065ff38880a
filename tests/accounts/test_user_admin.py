"""Users in the admin: how staff could try to gain privileges, and what staff can do."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission

from accounts import services
from accounts.models import User
from tests.conftest import make_user
from tests.rows import make_staff

pytestmark = pytest.mark.django_db


@pytest.fixture
def mallory(free):
    """Staff with every permission for users and groups, but not a superuser."""
    actions = ("add", "change", "delete", "view")
    return make_staff("mallory", *(f"accounts.{a}_user" for a in actions), *(f"auth.{a}_group" for a in actions))


@pytest.fixture
def attacker(client, mallory):
    client.force_login(mallory)
    return client


def form_data(user, **changes):
    values = {"name": user.name, "username": user.username, "email": user.email, "is_active": "on"}
    values |= {"tier": user.tier_id or "", **changes}
    return {name: value for name, value in values.items() if value is not None}


def post(client, user, **changes):
    return client.post(f"/admin/accounts/user/{user.pk}/change/", form_data(user, **changes))


def test_staff_cannot_make_themselves_superusers(attacker, mallory):
    assert post(attacker, mallory, is_superuser="on").status_code == 403
    mallory.refresh_from_db()
    assert not mallory.is_superuser


def test_staff_cannot_make_a_user_staff(attacker, alice):
    every = Permission.objects.all()
    group = Group.objects.create(name="Powers")
    data = {"is_superuser": "on", "is_staff": "on", "groups": [group.pk], "user_permissions": [every.first().pk]}
    assert post(attacker, alice, name="Alice B", **data).status_code == 302
    alice.refresh_from_db()
    assert alice.name == "Alice B"
    assert not alice.is_privileged
    assert not alice.groups.exists()
    assert not alice.user_permissions.exists()


def test_staff_cannot_create_staff_or_superusers(attacker):
    data = {"name": "Puppet", "username": "puppet", "email": "p@example.com", "is_superuser": "on", "is_staff": "on"}
    assert attacker.post("/admin/accounts/user/add/", data).status_code == 302
    puppet = User.objects.get(username="puppet")
    assert not puppet.is_privileged


def test_staff_cannot_set_passwords(attacker, alice, sue):
    before = sue.password, alice.password
    for user in (sue, alice):
        assert attacker.get(f"/admin/accounts/user/{user.pk}/password/").status_code == 302  # the page doesn't exist
        post(
            attacker,
            user,
            password="taken over",
            password1="taken over",
            password2="taken over",
            usable_password="true",
        )
    assert (User.objects.get(pk=sue.pk).password, User.objects.get(pk=alice.pk).password) == before


def test_staff_cannot_change_the_address_of_superusers_or_staff(attacker, sue):
    colleague = make_user("colleague", is_staff=True)
    for user in (sue, colleague):
        assert post(attacker, user, email="mallory@example.com").status_code == 403
        assert User.objects.get(pk=user.pk).email == user.email


def test_staff_cannot_suspend_delete_or_restore_superusers_or_staff(attacker, sue):
    colleague = make_user("colleague", is_staff=True)
    for user in (sue, colleague):
        assert post(attacker, user, is_active=None).status_code == 403
        assert attacker.post(f"/admin/accounts/user/{user.pk}/delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [sue.pk, colleague.pk], "post": "yes"}
    page = attacker.post("/admin/accounts/user/", data, follow=True).content.decode()
    assert "Only superusers can change" in page
    assert User.objects.effective().filter(pk__in=[sue.pk, colleague.pk]).count() == 2
    colleague.delete()
    assert attacker.post(f"/admin/accounts/user/{colleague.pk}/restore/", {"post": "yes"}).status_code == 403
    assert User.objects.deleted().get() == colleague


def test_a_bulk_action_with_a_forbidden_user_does_nothing(attacker, alice, sue):
    data = {"action": "delete_selected", "_selected_action": [alice.pk, sue.pk], "post": "yes"}
    attacker.post("/admin/accounts/user/", data)
    assert User.objects.live().filter(pk__in=[alice.pk, sue.pk]).count() == 2


def test_staff_cannot_change_the_permissions_of_groups(attacker, mallory):
    group = Group.objects.create(name="Mallory's")
    mallory.groups.add(group)
    every = [permission.pk for permission in Permission.objects.all()]
    assert attacker.get(f"/admin/auth/group/{group.pk}/change/").status_code == 200  # read-only
    page = attacker.post(f"/admin/auth/group/{group.pk}/change/", {"name": "Mallory's", "permissions": every})
    assert page.status_code == 403
    assert attacker.post("/admin/auth/group/add/", {"name": "New", "permissions": every}).status_code == 403
    assert attacker.post(f"/admin/auth/group/{group.pk}/delete/", {"post": "yes"}).status_code == 403
    assert not group.permissions.exists()


def test_superusers_cannot_delete_or_demote_themselves(staff_client, sue):
    assert staff_client.post(f"/admin/accounts/user/{sue.pk}/delete/", {"post": "yes"}).status_code == 403
    data = {"action": "delete_selected", "_selected_action": [sue.pk], "post": "yes"}
    assert "lock yourself out" in staff_client.post("/admin/accounts/user/", data, follow=True).content.decode()
    post(staff_client, sue, is_active=None)  # the form has no is_active, is_staff or is_superuser for oneself
    sue.refresh_from_db()
    assert sue.is_effective
    assert sue.is_superuser
    assert sue.is_staff


def test_a_superuser_can_demote_suspend_and_delete_another(staff_client):
    other = make_user("other", is_staff=True, is_superuser=True)
    assert post(staff_client, other, is_staff=None, is_superuser=None).status_code == 302
    other.refresh_from_db()
    assert not other.is_privileged
    assert post(staff_client, other, is_active=None).status_code == 302
    other.refresh_from_db()
    assert not other.is_active
    assert other.session_epoch == 1
    staff_client.post(f"/admin/accounts/user/{other.pk}/delete/", {"post": "yes"})
    assert User.objects.deleted().get() == other


def test_two_superusers_cannot_demote_each_other_at_once(staff_client, sue, monkeypatch):
    other = make_user("other", is_staff=True, is_superuser=True)
    # As if the other request had already demoted this superuser.
    monkeypatch.setattr(services, "would_remove_last_superuser", lambda _: True)
    page = post(staff_client, other, is_superuser=None, is_staff="on")
    assert page.status_code == 200
    assert "This is the last superuser who can sign in." in page.content.decode()
    assert User.objects.superusers().count() == 2


def test_staff_can_edit_delete_and_restore_users(attacker, alice):
    assert post(attacker, alice, name="Alice Cooper").status_code == 302
    assert attacker.post(f"/admin/accounts/user/{alice.pk}/delete/", {"post": "yes"}).status_code == 302
    assert attacker.post(f"/admin/accounts/user/{alice.pk}/restore/", {"post": "yes"}).status_code == 302
    alice.refresh_from_db()
    assert alice.name == "Alice Cooper"
    assert alice.deleted_at is None


def test_a_new_user_has_no_password_and_the_default_tier(staff_client, free):
    page = staff_client.get("/admin/accounts/user/add/")
    form = page.context["adminform"].form
    assert "password" not in form.fields
    assert form.initial["tier"] == free.pk
    data = {"name": "Dora", "username": "dora", "email": "Dora@Example.com", "tier": free.pk}
    assert staff_client.post("/admin/accounts/user/add/", data).status_code == 302
    dora = User.objects.get(username="dora")
    assert not dora.has_usable_password()
    assert dora.email == "dora@example.com"
    assert dora.tier == free
    page = staff_client.get(f"/admin/accounts/user/{dora.pk}/change/").content.decode()
    assert ">not set<" in page


def test_the_add_form_works_without_a_default_tier(staff_client, free):
    User.objects.update(tier=None)
    free.delete()
    assert staff_client.get("/admin/accounts/user/add/").status_code == 200


def test_the_change_page_does_not_show_the_password_hash(staff_client, alice):
    page = staff_client.get(f"/admin/accounts/user/{alice.pk}/change/").content.decode()
    assert "argon2" not in page
    assert ">set<" in page


@pytest.mark.parametrize("field", ["username", "email"])
def test_taken_values_are_form_errors_unless_their_user_is_deleted(staff_client, alice, bob, field):
    data = form_data(bob, **{field: getattr(alice, field)})
    page = staff_client.post(f"/admin/accounts/user/{bob.pk}/change/", data)
    assert field in page.context["adminform"].form.errors
    alice.delete()
    assert staff_client.post(f"/admin/accounts/user/{bob.pk}/change/", data).status_code == 302


@pytest.mark.parametrize("permission", ["view_user", "add_user", "change_user", "delete_user"])
def test_each_permission_allows_only_its_own_pages(client, alice, permission):
    client.force_login(make_staff("one", f"accounts.{permission}"))
    can_view = permission in {"view_user", "change_user"}
    assert (client.get("/admin/accounts/user/?o=").status_code == 200) is can_view
    assert (client.get(f"/admin/accounts/user/{alice.pk}/change/").status_code == 200) is can_view
    assert (client.get("/admin/accounts/user/add/").status_code == 200) is (permission == "add_user")
    assert (post(client, alice, name="Changed").status_code == 302) is (permission == "change_user")
    deleted = client.post(f"/admin/accounts/user/{alice.pk}/delete/", {"post": "yes"}).status_code == 302
    assert deleted is (permission == "delete_user")
    alice.refresh_from_db()
    assert (alice.name == "Changed") is (permission == "change_user")
    assert (alice.deleted_at is not None) is (permission == "delete_user")
    for other in (
        "tiers/tier",
        "ratelimits/ratelimit",
        "apikeys/apikey",
        "admin/logentry",
        "auth/group",
    ):
        assert client.get(f"/admin/{other}/").status_code == 403


def test_visitors_and_users_cannot_open_the_admin(client, alice):
    for _ in range(2):
        for url in ("/admin/", "/admin/accounts/user/", "/admin/search/?q=a", "/admin/accounts/user/export/"):
            assert client.get(url).status_code == 302
        client.force_login(alice)


def test_unoffered_permissions_that_a_user_has_are_kept(staff_client, alice):
    unoffered = Permission.objects.get(codename="add_session")
    alice.user_permissions.add(unoffered)
    url = f"/admin/accounts/user/{alice.pk}/change/"
    offered = staff_client.get(url).context["adminform"].form.fields["user_permissions"]
    names = [offered.label_from_instance(permission) for permission in offered.queryset]
    assert {"Change rate limit", "View API key", "View usage event", "Add session"} <= set(names)
    assert "Delete session" not in names
    assert len(names) == len(set(names)) < 50
    assert post(staff_client, alice, user_permissions=[unoffered.pk]).status_code == 302
    assert list(alice.user_permissions.all()) == [unoffered]
    fresh = staff_client.get("/admin/auth/group/add/").context["adminform"].form.fields["permissions"]
    assert not fresh.queryset.filter(pk=unoffered.pk).exists()
