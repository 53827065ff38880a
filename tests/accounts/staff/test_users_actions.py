"""/users/<pk>/<action>/: what staff can do to one user."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from django.core import mail

from accounts.addresses import is_verified, set_address
from accounts.models import User
from tests.accounts.people import ALL_USER_PERMISSIONS, history, make_key, messages, signed_in
from tests.conftest import make_user
from tests.pages import press_undo
from tests.rows import make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db

HARMLESS = ("sign-out", "send-reset", "verify", "resend-verification")
ALL = ("suspend", "reactivate", "delete", "restore", *HARMLESS)


def act(client, user, action, **options):
    return client.post(f"/users/{user.pk}/{action}/", **options)


def test_the_confirmation_page_shows_what_will_happen_and_changes_nothing(staff_client, alice):
    make_key(alice, "one")
    make_key(alice, "two")
    page = staff_client.get(f"/users/{alice.pk}/suspend/").content.decode()
    assert "2 API keys will stop working" in page
    alice.refresh_from_db()
    assert alice.is_active


@pytest.mark.parametrize(
    ("action", "prepare", "effect"),
    [
        ("suspend", User.refresh_from_db, "will be signed out everywhere and won&#x27;t be able to sign in"),
        ("reactivate", User.suspend, "They can sign in again."),
        ("delete", User.refresh_from_db, "Other people can use their username and email address."),
        ("restore", User.delete, "No API keys will work again."),
        ("sign-out", User.refresh_from_db, "All sessions will end, and password reset links will stop working."),
        ("send-reset", User.refresh_from_db, "They&#x27;ll get an email with a link to set a new password."),
        (
            "verify",
            lambda user: set_address(user, verified=False),
            "Only do this if you&#x27;re sure that the address is theirs.",
        ),
        (
            "resend-verification",
            lambda user: set_address(user, verified=False),
            "They&#x27;ll get an email with a link to confirm",
        ),
    ],
)
def test_every_action_has_a_confirmation_page(staff_client, alice, action, prepare, effect):
    prepare(alice)
    assert effect in staff_client.get(f"/users/{alice.pk}/{action}/").content.decode()
    assert history(alice) == []


def test_suspending_a_user_ends_sessions_and_stops_keys(staff_client, alice):
    key = make_key(alice)
    alice_client = signed_in(alice)
    assert alice_client.get("/account/").status_code == 200
    act(staff_client, alice, "suspend")
    assert alice_client.get("/account/").status_code == 302
    assert not type(key).objects.effective().exists()


def test_reactivating_a_user_restores_keys_but_not_sessions(staff_client, alice):
    key = make_key(alice)
    alice_client = signed_in(alice)
    act(staff_client, alice, "suspend")
    act(staff_client, alice, "reactivate")
    assert alice_client.get("/account/").status_code == 302
    assert type(key).objects.effective().exists()


def test_restoring_a_user_does_not_restore_deleted_keys(staff_client, alice):
    make_key(alice, "stays")
    gone = make_key(alice, "gone")
    gone.delete()
    alice_client = signed_in(alice)
    act(staff_client, alice, "delete")
    assert alice_client.get("/account/").status_code == 302
    page = staff_client.get(f"/users/{alice.pk}/restore/").content.decode()
    assert "1 API key will work again" in page
    act(staff_client, alice, "restore")
    assert [key.name for key in type(gone).objects.effective()] == ["stays"]
    assert alice_client.get("/account/").status_code == 302


@pytest.mark.parametrize(
    ("action", "summary", "undone"),
    [("suspend", "Suspended.", "reactivated"), ("delete", "Deleted.", "restored")],
)
def test_suspending_and_deleting_can_be_undone_from_the_message(staff_client, alice, action, summary, undone):
    response = act(staff_client, alice, action, follow=True)
    assert history(alice)[0].summary == summary
    response = press_undo(staff_client, response)
    assert messages(response) == [f"Undone: user “alice” {undone}."]
    assert response.request["PATH_INFO"] == f"/users/{alice.pk}/"
    assert history(alice)[0].summary == f"{undone.capitalize()}."
    assert history(alice)[0].via == "undo"
    assert User.objects.effective().filter(pk=alice.pk).exists()


def test_signing_out_everywhere_ends_sessions_and_reset_links_but_not_keys(staff_client, alice):
    make_key(alice)
    alice_client = signed_in(alice)
    act(staff_client, alice, "sign-out")
    assert alice_client.get("/account/").status_code == 302
    assert User.objects.filter(pk=alice.pk).effective_keys().count() == 1
    assert history(alice)[0].summary == "Signed out everywhere."


def test_a_reset_email_has_a_link_and_no_password(staff_client, alice):
    act(staff_client, alice, "send-reset")
    (message,) = mail.outbox
    assert message.to == ["alice@example.com"]
    assert "/accounts/password/reset/key/" in message.body
    assert "correct horse 1" not in message.body
    assert history(alice)[0].summary == "Password reset email sent."


def test_staff_can_mark_an_address_as_verified(staff_client, alice):
    set_address(alice, verified=False)
    act(staff_client, alice, "verify")
    assert is_verified(alice)
    assert history(alice)[0].summary == "Email address marked as verified."


@pytest.mark.parametrize("known", [True, False])
def test_a_verification_email_can_be_sent_again(staff_client, alice, known):
    set_address(alice, verified=False)
    if not known:
        EmailAddress.objects.filter(user=alice).delete()
    act(staff_client, alice, "resend-verification")
    assert "/accounts/confirm-email/" in mail.outbox[0].body
    assert history(alice)[0].summary == "Verification email sent."


@pytest.mark.parametrize(
    ("action", "prepare"),
    [
        ("suspend", User.suspend),
        ("reactivate", User.refresh_from_db),
        ("delete", User.delete),
        ("restore", User.refresh_from_db),
        ("send-reset", User.suspend),
        ("verify", lambda user: set_address(user, verified=True)),
    ],
)
def test_an_action_that_no_longer_applies_does_nothing(staff_client, alice, action, prepare):
    prepare(alice)
    response = act(staff_client, alice, action, follow=True)
    assert messages(response)[0].startswith("Nothing to do")
    assert history(alice) == []


def test_restoring_a_user_with_a_taken_username_is_an_error(staff_client, alice):
    alice.delete()
    make_user("alice")
    page = act(staff_client, alice, "restore").content.decode()
    assert "User “alice” can&#x27;t be restored because the user “alice” has the same username" in page


@pytest.mark.parametrize("action", ALL)
def test_staff_cannot_act_on_superusers_other_staff_or_themselves(sue, action):
    steve = make_staff("steve", *ALL_USER_PERMISSIONS)
    other = make_staff("olga", "view_user")
    client = signed_in(steve)
    for target in (sue, other, steve):
        assert act(client, target, action).status_code == 403
        assert client.get(f"/users/{target.pk}/{action}/").status_code == 403


@pytest.mark.parametrize("action", ["suspend", "delete"])
def test_superusers_cannot_suspend_or_delete_themselves(staff_client, sue, action):
    make_user("sam", is_staff=True, is_superuser=True)
    assert act(staff_client, sue, action).status_code == 403
    sue.refresh_from_db()
    assert sue.is_effective


def test_a_superuser_can_suspend_another_superuser(staff_client, sue):
    sam = make_user("sam", is_staff=True, is_superuser=True)
    act(staff_client, sam, "suspend")
    sam.refresh_from_db()
    assert not sam.is_active


@pytest.mark.parametrize(
    ("action", "permission"), [("suspend", "change_user"), ("delete", "delete_user"), ("verify", "change_user")]
)
def test_each_action_requires_its_permission(alice, action, permission):
    without = {"change_user", "delete_user"} - {permission}
    assert act(signed_in(make_staff("steve", "view_user", *without)), alice, action).status_code == 403
    assert act(signed_in(make_staff("olga", "view_user", permission)), alice, action).status_code == 302


def test_losing_a_permission_takes_effect_on_the_next_request(alice):
    steve = make_staff("steve", *ALL_USER_PERMISSIONS)
    client = signed_in(steve)
    assert client.get("/users/").status_code == 200
    steve.user_permissions.clear()
    assert act(client, alice, "suspend").status_code == 403
    assert client.get("/users/").status_code == 403


def test_changing_the_tier_is_recorded_with_old_and_new_values(staff_client, alice):
    pro = Tier.objects.create(name="pro")
    assert staff_client.get(f"/users/{alice.pk}/tier/").context["form"].initial == {"tier": alice.tier_id}
    staff_client.post(f"/users/{alice.pk}/tier/", {"tier": pro.pk})
    alice.refresh_from_db()
    assert alice.tier == pro
    assert history(alice)[0].values == [{"field": "tier", "old": "free", "new": "pro"}]
    staff_client.post(f"/users/{alice.pk}/tier/", {"tier": ""})
    alice.refresh_from_db()
    assert alice.tier is None


def test_a_deleted_tier_cannot_be_assigned(staff_client, alice):
    gone = Tier.objects.create(name="gone")
    gone.delete()
    response = staff_client.post(f"/users/{alice.pk}/tier/", {"tier": gone.pk})
    assert response.context["form"].errors["tier"]


def test_setting_the_same_tier_adds_no_history(staff_client, alice):
    staff_client.post(f"/users/{alice.pk}/tier/", {"tier": alice.tier_id})
    assert history(alice) == []


@pytest.mark.parametrize("action", [*ALL, "tier", "erase", "edit"])
def test_a_user_that_does_not_exist_is_not_found(staff_client, action):
    for pk in ("0", "999999", "9" * 30):
        assert staff_client.post(f"/users/{pk}/{action}/").status_code == 404


def test_an_unknown_action_is_not_found(staff_client, alice):
    assert act(staff_client, alice, "promote").status_code == 404


@pytest.mark.parametrize("action", ALL)
def test_actions_require_a_csrf_token(sue, alice, action):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(sue)
    assert act(client, alice, action).status_code == 403
