"""The second factor: setting it up, using it, losing it, storing it, and requiring it of staff."""

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
def protected(client, alice):
    """Alice with an authenticator app, signed in; the client knows the secret."""
    verified(alice)
    sign_in(client, "alice")
    client.secret = enrol(client)
    return client


def test_the_code_is_asked_for_after_the_password(protected):
    phone = Client()
    assert sign_in(phone, "alice")["Location"] == "/accounts/2fa/authenticate/"
    assert not is_signed_in(phone)
    response = phone.post("/accounts/2fa/authenticate/", {"code": code_for(protected.secret)})
    assert response["Location"] == "/account/"
    assert is_signed_in(phone)


def test_a_wrong_code_signs_nobody_in(protected):
    phone = Client()
    sign_in(phone, "alice")
    response = phone.post("/accounts/2fa/authenticate/", {"code": "000000"})
    assert response.context["form"].errors["code"]
    assert not is_signed_in(phone)


def test_a_code_is_good_once_on_every_worker(protected, settings):
    from django.core.cache import cache

    code = code_for(protected.secret)
    for expected, spelling in ((True, code), (False, code), (False, f"{code[:3]}-{code[3:]} ")):
        phone = Client()
        sign_in(phone, "alice")
        phone.post("/accounts/2fa/authenticate/", {"code": spelling})
        assert is_signed_in(phone) is expected
        cache.clear()  # another worker has another cache


def test_codes_cannot_be_tried_out(protected):
    phone = Client()
    sign_in(phone, "alice")
    answers = [phone.post("/accounts/2fa/authenticate/", {"code": f"{n:06}"}).status_code for n in range(6)]
    assert answers == [200] * 5 + [429]
    assert phone.post("/accounts/2fa/authenticate/", {"code": code_for(protected.secret)}).status_code == 429
    assert not is_signed_in(phone)


def test_a_recovery_code_works_once(protected):
    codes = protected.get("/accounts/2fa/recovery-codes/").context["unused_codes"]
    for expected in (True, False):
        phone = Client()
        sign_in(phone, "alice")
        phone.post("/accounts/2fa/authenticate/", {"code": codes[0]})
        assert is_signed_in(phone) is expected


def test_the_second_factor_page_leads_nowhere_without_the_first(client, protected):
    assert Client().get("/accounts/2fa/authenticate/")["Location"] == "/accounts/login/"


@pytest.mark.parametrize("event", [User.end_sessions, User.suspend, User.delete])
def test_a_sign_in_that_was_begun_before_everything_ended_is_not_finished_after(protected, alice, event):
    phone = Client()
    sign_in(phone, "alice")
    event(alice)
    response = phone.post("/accounts/2fa/authenticate/", {"code": code_for(protected.secret)})
    assert response["Location"] == "/accounts/login/"
    assert not is_signed_in(phone)


@pytest.mark.django_db(transaction=True)  # the email is sent when the transaction ends
def test_enrolling_and_removing_leave_history_and_mail(client, alice, mailoutbox):
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
def test_an_open_session_alone_does_not_touch_the_second_factor(protected, alice, path):
    other = Client()
    other.force_login(alice)
    response = other.get(f"/accounts/2fa/{path}")
    assert response.status_code == 302
    assert "reauthenticate" in response["Location"] or response["Location"] == "/accounts/2fa/totp/deactivate/"


def test_the_secret_is_not_in_the_database_in_clear(protected, alice):
    stored = json.dumps(list(Authenticator.objects.filter(user=alice).values_list("data", flat=True)))
    assert protected.secret not in stored
    secrets = [row.data["secret"] for row in Authenticator.objects.filter(user=alice, type="totp")]
    assert [encryption.decrypt(secret) for secret in secrets] == [protected.secret]


def test_a_new_secret_key_reads_what_the_old_one_wrote_while_it_is_a_fallback(settings):
    token = encryption.encrypt("JBSWY3DPEHPK3PXP")
    old = settings.SECRET_KEY
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "n" * 60, [old]
    assert encryption.decrypt(token) == "JBSWY3DPEHPK3PXP"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(InvalidToken):
        encryption.decrypt(token)


def test_the_page_shows_the_code_as_svg_of_its_own(client, alice):
    verified(alice)
    client.force_login(alice)
    confirm_identity(client)
    text = client.get("/accounts/2fa/totp/activate/").content.decode()
    assert "<svg" in text
    assert "<?xml" not in text
    assert "data:image" not in text


def test_recovery_codes_are_shown_downloaded_and_made_anew(protected):
    first = protected.get("/accounts/2fa/recovery-codes/").context["unused_codes"]
    download = protected.get("/accounts/2fa/recovery-codes/download/")
    assert first[0] in download.content.decode()
    assert download["Cache-Control"].find("no-store") >= 0
    protected.post("/accounts/2fa/recovery-codes/generate/")
    assert first[0] not in protected.get("/accounts/2fa/recovery-codes/").context["unused_codes"]


class TestStaff:
    @pytest.fixture(autouse=True)
    def required(self, settings):
        settings.STAFF_MFA_REQUIRED = True

    def test_staff_without_a_second_factor_are_sent_to_enrol(self, client, sue):
        verified(sue)
        sign_in(client, "sue")
        response = client.get("/admin/", follow=True)
        assert response.redirect_chain[-1][0].startswith("/accounts/2fa/")
        assert "require a second factor" in response.content.decode()

    def test_enrolling_alone_is_not_using(self, client, sue):
        verified(sue)
        sign_in(client, "sue")
        secret = enrol(client)
        response = client.get("/admin/", follow=True)
        assert response.redirect_chain[-1][0].startswith("/accounts/2fa/reauthenticate/")
        response = client.post("/accounts/2fa/reauthenticate/", {"code": code_for(secret), "next": "/admin/"})
        assert response["Location"] == "/admin/"
        assert client.get("/admin/").status_code == 200

    def test_it_is_the_session_that_counts_not_the_user(self, client, sue):
        verified(sue)
        sign_in(client, "sue")
        enrol(client)
        other = Client()
        other.force_login(sue)
        assert other.get("/admin/").status_code == 302

    def test_a_sign_in_with_the_code_opens_the_staff_pages_until_the_factor_is_removed(self, client, sue):
        verified(sue)
        sign_in(client, "sue")
        secret = enrol(client)
        phone = Client()
        sign_in(phone, "sue")
        phone.post("/accounts/2fa/authenticate/", {"code": code_for(secret)})
        assert phone.get("/admin/").status_code == 200
        Authenticator.objects.filter(user=sue).delete()
        assert phone.get("/admin/").status_code == 302

    def test_every_admin_page_is_closed_too(self, client, sue):
        client.force_login(sue)
        for path in ("/admin/", "/admin/tiers/tier/", "/admin/jsi18n/", "/admin/autocomplete/"):
            response = client.get(path)
            assert response.status_code in {302, 404}, path


def test_without_the_setting_staff_need_no_second_factor(client, sue, settings):
    settings.STAFF_MFA_REQUIRED = False
    client.force_login(sue)
    assert client.get("/admin/").status_code == 200
