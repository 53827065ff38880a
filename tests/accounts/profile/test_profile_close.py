"""/account/close/: users close their account."""

from __future__ import annotations

import pytest
from allauth.account.internal.flows.login import record_authentication
from django.test import RequestFactory

from accounts.models import User
from tests.accounts.people import history, make_key, messages, signed_in
from tests.conftest import make_user

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse 1"


def test_the_page_shows_how_many_keys_will_stop_working(alice):
    client = signed_in(alice)
    assert "have any active API keys" in client.get("/account/close/").content.decode()
    make_key(alice, "one")
    make_key(alice, "two")
    make_key(alice, "revoked", revoked_at="2026-01-01T00:00Z")
    assert "2 API keys will stop working" in client.get("/account/close/").content.decode()


def test_closing_an_account_deletes_the_user_and_ends_sessions_and_keys(alice):
    key = make_key(alice)
    here, elsewhere = signed_in(alice), signed_in(alice)
    response = here.post("/account/close/", {"password": PASSWORD}, follow=True)
    assert messages(response) == ["Account closed."]
    assert response.redirect_chain[-1][0] == "/accounts/login/"
    alice.refresh_from_db()
    assert alice.deleted_at
    assert history(alice)[0].summary == "Closed by the user."
    assert elsewhere.get("/account/").status_code == 302
    assert not type(key).objects.effective().exists()


@pytest.mark.parametrize("password", ["", "wrong", "correct horse 1 ", "x" * 129, "nul\0"])
def test_closing_an_account_requires_the_password(alice, password):
    client = signed_in(alice)
    response = client.post("/account/close/", {"password": password})
    assert response.context["form"].errors["password"]
    if password:
        assert password not in response.content.decode()
    alice.refresh_from_db()
    assert alice.deleted_at is None
    assert client.get("/account/").status_code == 200


def test_wrong_passwords_are_throttled(alice):
    client = signed_in(alice)
    for _ in range(5):
        client.post("/account/close/", {"password": "wrong"})
    response = client.post("/account/close/", {"password": PASSWORD})
    assert response.status_code == 429
    alice.refresh_from_db()
    assert alice.deleted_at is None


def test_a_user_without_a_password_has_to_sign_in_again_first(alice):
    alice.set_unusable_password()
    alice.save()
    client = signed_in(alice)
    assert "Your password" not in client.get("/account/close/").content.decode()
    response = client.post("/account/close/")
    assert "sign in again" in response.context["form"].non_field_errors()[0]
    alice.refresh_from_db()
    assert alice.deleted_at is None
    request = RequestFactory().get("/")
    request.session = client.session
    record_authentication(request, alice, "socialaccount")
    request.session.save()
    client.post("/account/close/")
    alice.refresh_from_db()
    assert alice.deleted_at


def test_the_last_superuser_cannot_close_their_account(sue):
    client = signed_in(sue)
    response = client.post("/account/close/", {"password": PASSWORD})
    assert "This is the last superuser" in response.context["form"].non_field_errors()[0]
    sue.refresh_from_db()
    assert sue.deleted_at is None
    make_user("sam", is_staff=True, is_superuser=True)
    client.post("/account/close/", {"password": PASSWORD})
    assert not User.objects.live().filter(pk=sue.pk).exists()


def test_posting_another_user_id_does_not_close_their_account(alice, bob):
    signed_in(alice).post("/account/close/", {"password": PASSWORD, "user": bob.pk, "pk": bob.pk})
    bob.refresh_from_db()
    assert bob.deleted_at is None
