"""Two-factor authentication: setup, use, recovery codes, storage, and requiring it for staff."""

from __future__ import annotations

import json

import pytest
from allauth.mfa.models import Authenticator
from cryptography.fernet import InvalidToken
from django.test import Client

from accounts.models import User
from accounts.signin import encryption
from config.base.history import LogEntry
from tests.accounts.signin.steps import code_for, confirm_identity, enrol, is_signed_in, sign_in, verified


@pytest.fixture
def mfa_client(client, alice):
    """A client signed in as Alice, who has an authenticator app with `client.secret`."""
    verified(alice)
    sign_in(client, "alice")
    client.secret = enrol(client)
    return client


def test_the_code_is_required_after_the_password(mfa_client):
    phone = Client()
    assert sign_in(phone, "alice")["Location"] == "/accounts/2fa/authenticate/"
    assert not is_signed_in(phone)
    response = phone.post("/accounts/2fa/authenticate/", {"code": code_for(mfa_client.secret)})
    assert response["Location"] == "/account/"
    assert is_signed_in(phone)


def test_a_wrong_code_does_not_sign_in(mfa_client):
    phone = Client()
    sign_in(phone, "alice")
    response = phone.post("/accounts/2fa/authenticate/", {"code": "000000"})
    assert response.context["form"].errors["code"]
    assert not is_signed_in(phone)


def test_a_code_works_once_across_workers(mfa_client, settings):
    from django.core.cache import cache

    code = code_for(mfa_client.secret)
    for expected, spelling in ((True, code), (False, code), (False, f"{code[:3]}-{code[3:]} ")):
        phone = Client()
        sign_in(phone, "alice")
        phone.post("/accounts/2fa/authenticate/", {"code": spelling})
        assert is_signed_in(phone) is expected
        cache.clear()  # another worker has its own cache


def test_wrong_codes_are_throttled(mfa_client):
    phone = Client()
    sign_in(phone, "alice")
    answers = [phone.post("/accounts/2fa/authenticate/", {"code": f"{n:06}"}).status_code for n in range(6)]
    assert answers == [200] * 5 + [429]
    assert phone.post("/accounts/2fa/authenticate/", {"code": code_for(mfa_client.secret)}).status_code == 429
    assert not is_signed_in(phone)


def test_a_recovery_code_works_once(mfa_client):
    codes = mfa_client.get("/accounts/2fa/recovery-codes/").context["unused_codes"]
    for expected in (True, False):
        phone = Client()
        sign_in(phone, "alice")
        phone.post("/accounts/2fa/authenticate/", {"code": codes[0]})
        assert is_signed_in(phone) is expected


def test_the_second_factor_page_requires_the_password_first(client, mfa_client):
    assert Client().get("/accounts/2fa/authenticate/")["Location"] == "/accounts/login/"


@pytest.mark.parametrize("event", [User.end_sessions, User.suspend, User.delete])
def test_a_started_sign_in_cannot_be_completed_after_sessions_end(mfa_client, alice, event):
    phone = Client()
    sign_in(phone, "alice")
    event(alice)
    response = phone.post("/accounts/2fa/authenticate/", {"code": code_for(mfa_client.secret)})
    assert response["Location"] == "/accounts/login/"
    assert not is_signed_in(phone)


@pytest.mark.django_db(transaction=True)  # the email is sent on commit
def test_adding_and_removing_an_app_is_recorded_and_emailed(client, alice, mailoutbox):
    verified(alice)
    sign_in(client, "alice")
    enrol(client)
    response = client.post("/accounts/2fa/totp/deactivate/")
    assert response["Location"] == "/accounts/2fa/"
    assert not Authenticator.objects.filter(user=alice).exists()
    notes = [entry.change_message for entry in LogEntry.objects.filter(object_id=str(alice.pk))]
    assert [note for note in notes if "Authenticator app added" in note]
    assert [note for note in notes if "Authenticator app removed" in note]
    assert {message.to[0] for message in mailoutbox} == {"alice@example.com"}


@pytest.mark.parametrize(
    "path", ["totp/activate/", "totp/deactivate/", "recovery-codes/", "recovery-codes/generate/", "webauthn/add/"]
)
def test_changing_the_second_factor_requires_the_password(mfa_client, alice, path):
    other = Client()
    other.force_login(alice)
    response = other.get(f"/accounts/2fa/{path}")
    assert response.status_code == 302
    assert "reauthenticate" in response["Location"] or response["Location"] == "/accounts/2fa/totp/deactivate/"


def test_the_secret_is_encrypted_in_the_database(mfa_client, alice):
    stored = json.dumps(list(Authenticator.objects.filter(user=alice).values_list("data", flat=True)))
    assert mfa_client.secret not in stored
    secrets = [row.data["secret"] for row in Authenticator.objects.filter(user=alice, type="totp")]
    assert [encryption.decrypt(secret) for secret in secrets] == [mfa_client.secret]


def test_secrets_are_readable_while_the_old_secret_key_is_a_fallback(settings):
    token = encryption.encrypt("JBSWY3DPEHPK3PXP")
    old = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 60, [old]
    assert encryption.decrypt(token) == "JBSWY3DPEHPK3PXP"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(InvalidToken):
        encryption.decrypt(token)


def test_the_qr_code_is_inline_svg(client, alice):
    verified(alice)
    client.force_login(alice)
    confirm_identity(client)
    text = client.get("/accounts/2fa/totp/activate/").content.decode()
    assert "<svg" in text
    assert "<?xml" not in text
    assert "data:image" not in text


def test_recovery_codes_can_be_viewed_downloaded_and_regenerated(mfa_client):
    first = mfa_client.get("/accounts/2fa/recovery-codes/").context["unused_codes"]
    download = mfa_client.get("/accounts/2fa/recovery-codes/download/")
    assert first[0] in download.content.decode()
    assert download["Cache-Control"].find("no-store") >= 0
    mfa_client.post("/accounts/2fa/recovery-codes/generate/")
    assert first[0] not in mfa_client.get("/accounts/2fa/recovery-codes/").context["unused_codes"]


class TestRequiredForStaff:
    @pytest.fixture(autouse=True)
    def required(self, settings):
        settings.STAFF_MFA_REQUIRED = True

    def test_staff_without_a_second_factor_are_sent_to_set_one_up(self, client, sue):
        verified(sue)
        sign_in(client, "sue")
        response = client.get("/admin/", follow=True)
        assert response.redirect_chain[-1][0].startswith("/accounts/2fa/")
        assert "require a second factor" in response.content.decode()

    def test_a_new_second_factor_has_to_be_used_once(self, client, sue):
        verified(sue)
        sign_in(client, "sue")
        secret = enrol(client)
        response = client.get("/admin/", follow=True)
        assert response.redirect_chain[-1][0].startswith("/accounts/2fa/reauthenticate/")
        response = client.post("/accounts/2fa/reauthenticate/", {"code": code_for(secret), "next": "/admin/"})
        assert response["Location"] == "/admin/"
        assert client.get("/admin/").status_code == 200

    def test_another_session_without_the_second_factor_is_not_enough(self, client, sue):
        verified(sue)
        sign_in(client, "sue")
        enrol(client)
        other = Client()
        other.force_login(sue)
        assert other.get("/admin/").status_code == 302

    def test_signing_in_with_a_code_opens_staff_pages_until_the_factor_is_removed(self, client, sue):
        verified(sue)
        sign_in(client, "sue")
        secret = enrol(client)
        phone = Client()
        sign_in(phone, "sue")
        phone.post("/accounts/2fa/authenticate/", {"code": code_for(secret)})
        assert phone.get("/admin/").status_code == 200
        Authenticator.objects.filter(user=sue).delete()
        assert phone.get("/admin/").status_code == 302

    def test_admin_pages_require_it_too(self, client, sue):
        client.force_login(sue)
        for path in ("/admin/", "/admin/tiers/tier/", "/admin/jsi18n/", "/admin/autocomplete/"):
            response = client.get(path)
            assert response.status_code in {302, 404}, path


def test_without_the_setting_staff_need_no_second_factor(client, sue, settings):
    settings.STAFF_MFA_REQUIRED = False
    client.force_login(sue)
    assert client.get("/admin/").status_code == 200
