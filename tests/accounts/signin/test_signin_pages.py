"""Every page under /accounts/: who can open it, its CSP, and passkey pages."""

from __future__ import annotations

import re

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from django.urls import URLPattern, get_resolver

from accounts.signin.templatetags import browser
from tests.accounts.signin.steps import confirm_identity, enrol, make_verified, sign_in, verified

PUBLIC = {
    "/accounts/login/",
    "/accounts/signup/",
    "/accounts/password/reset/",
    "/accounts/password/reset/done/",
    "/accounts/password/reset/key/1-x/",
    "/accounts/password/reset/key/done/",
    "/accounts/confirm-email/",
    "/accounts/confirm-email/nonsense/",
    "/accounts/inactive/",
    "/accounts/3rdparty/login/cancelled/",
    "/accounts/3rdparty/login/error/",
}
ACCOUNT = {
    "/accounts/email/",
    "/accounts/password/change/",
    "/accounts/reauthenticate/",
    "/accounts/2fa/",
    "/accounts/2fa/totp/activate/",
    "/accounts/2fa/recovery-codes/",
    "/accounts/2fa/recovery-codes/generate/",
    "/accounts/2fa/webauthn/",
    "/accounts/2fa/webauthn/add/",
    "/accounts/sessions/",
    "/accounts/3rdparty/",
    "/accounts/logout/",
}
# These redirect or need other conditions. Each one has its own tests.
OTHER = {
    "/accounts/password/set/",
    "/accounts/2fa/totp/deactivate/",
    "/accounts/2fa/authenticate/",
    "/accounts/2fa/reauthenticate/",
    "/accounts/2fa/webauthn/reauthenticate/",
    "/accounts/2fa/recovery-codes/download/",
    "/accounts/2fa/webauthn/login/",
    "/accounts/2fa/webauthn/keys/1/edit/",
    "/accounts/2fa/webauthn/keys/1/remove/",
    "/accounts/login/code/confirm/",
    "/accounts/sessions/1/end/",
    "/accounts/3rdparty/signup/",
    "/accounts/google/login/",
    "/accounts/google/login/callback/",
    "/accounts/github/login/",
    "/accounts/github/login/callback/",
}


def paths(patterns, prefix="/"):
    for pattern in patterns:
        route = re.sub(r"<int:\w+>", "1", str(pattern.pattern)).lstrip("^").rstrip("$")
        route = re.sub(r"\(\?P<uidb36>.*?\)-\(\?P<key>.*?\)", "1-x", route)
        route = re.sub(r"\(\?P<key>.*?\)", "nonsense", route)
        if isinstance(pattern, URLPattern):
            yield prefix + route
        else:
            yield from paths(pattern.url_patterns, prefix + route)


def test_every_page_is_listed():
    found = {path for path in paths(get_resolver().url_patterns) if path.startswith("/accounts/")}
    assert found == PUBLIC | ACCOUNT | OTHER


def follows_the_csp(response):
    """Check that the page has no inline script or style, loads nothing from other sites, and has one heading."""
    text = response.content.decode()
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert not re.search(r"<script(?![^>]*\ssrc=)", text), "inline script"
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", text), "inline style or handler"
    assert not re.search(r'(src|href)="(https?:)?//', text), "loads from another site"
    assert "{%" not in text
    assert text.count("<h1") == 1
    assert "<title> ·" not in text
    return True


@pytest.mark.parametrize("path", sorted(PUBLIC))
def test_anyone_can_open_public_pages(client, free, path):
    response = client.get(path)
    assert response.status_code == (401 if path.endswith("/error/") else 200)
    assert follows_the_csp(response)


@pytest.mark.parametrize("path", sorted(ACCOUNT - {"/accounts/logout/"}))
def test_account_pages_redirect_visitors_to_sign_in(client, db, path):
    response = client.get(path)
    assert response.status_code == 302
    assert response["Location"].startswith("/accounts/login/")


@pytest.mark.parametrize("path", sorted(ACCOUNT))
def test_users_can_open_their_account_pages_which_are_not_cached(client, free, path):
    make_verified("alice")
    sign_in(client, "alice")
    if path.startswith("/accounts/2fa/recovery"):
        enrol(client)
    confirm_identity(client)
    response = client.get(path)
    assert response.status_code == 200
    assert follows_the_csp(response)
    assert "no-store" in response["Cache-Control"]


def test_only_the_user_can_edit_or_remove_their_passkeys(client, alice, bob):
    key = Authenticator.objects.create(
        user=verified(bob), type="webauthn", data={"name": "<b>Key</b>", "credential": {}}
    )
    client.force_login(verified(alice))
    confirm_identity(client)
    bobs_client = Client()
    bobs_client.force_login(bob)
    confirm_identity(bobs_client)
    for page in ("edit", "remove"):
        path = f"/accounts/2fa/webauthn/keys/{key.pk}/{page}/"
        assert client.get(path).status_code == client.get(path.replace(str(key.pk), "999999")).status_code == 404
        assert follows_the_csp(bobs_client.get(path))
    assert "&lt;b&gt;Key" in bobs_client.get("/accounts/2fa/webauthn/").content.decode()
    bobs_client.post(f"/accounts/2fa/webauthn/keys/{key.pk}/edit/", {"name": "Phone"})
    assert "Phone" in bobs_client.get("/accounts/2fa/webauthn/").content.decode()
    bobs_client.post(f"/accounts/2fa/webauthn/keys/{key.pk}/remove/")
    assert not Authenticator.objects.filter(pk=key.pk).exists()


BROKEN = ["", "{}", "null", "[]", "nonsense", '{"id": "x", "response": {"userHandle": "MQ"}}', '{"response": 1}']


@pytest.mark.parametrize("credential", BROKEN)
def test_a_broken_credential_is_not_accepted_as_second_factor(client, alice, credential):
    sign_in(client, verified(alice).username)
    secret = enrol(client)
    assert follows_the_csp(client.get("/accounts/2fa/reauthenticate/"))
    assert client.post("/accounts/2fa/webauthn/add/", {"credential": credential}).status_code == 200
    phone = Client()
    sign_in(phone, "alice")
    assert follows_the_csp(phone.get("/accounts/2fa/authenticate/"))
    response = phone.post("/accounts/2fa/authenticate/", {"credential": credential})
    assert response.status_code == 200
    assert "_auth_user_id" not in phone.session
    assert secret not in response.content.decode()


@pytest.mark.parametrize("credential", BROKEN)
def test_a_broken_credential_does_not_reauthenticate(client, alice, credential):
    Authenticator.objects.create(user=verified(alice), type="webauthn", data={"name": "Key", "credential": {}})
    client.force_login(alice)
    response = client.post("/accounts/2fa/webauthn/reauthenticate/", {"credential": credential})
    assert response.status_code in {200, 302}
    assert client.get("/accounts/2fa/webauthn/add/").status_code == 302


def test_the_accounts_url_redirects(client, alice):
    assert client.get("/accounts/")["Location"] == "/accounts/login/"
    client.force_login(alice)
    assert client.get("/accounts/")["Location"] == "/accounts/email/"


def test_the_sign_in_page_redirects_signed_in_users(client, alice):
    client.force_login(alice)
    assert client.get("/accounts/login/")["Location"] == "/account/"


@pytest.mark.parametrize("credential", BROKEN)
def test_a_broken_credential_does_not_sign_in(client, alice, credential):
    client.get("/accounts/2fa/webauthn/login/", headers={"Accept": "application/json"})
    response = client.post("/accounts/2fa/webauthn/login/", {"credential": credential})
    assert response.status_code in {200, 302}
    assert "_auth_user_id" not in client.session


def test_passkey_options_are_only_returned_as_json(client, db):
    options = client.get("/accounts/2fa/webauthn/login/", headers={"Accept": "application/json"}).json()
    assert options["request_options"]["publicKey"]["challenge"]
    assert client.get("/accounts/2fa/webauthn/login/")["Location"] == "/accounts/login/"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/130.0 Safari/537.36 Edg/130.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iPhone"),
        ("curl/8.0", "curl/8.0"),
        ("", "Unknown"),
    ],
)
def test_user_agents_are_shown_as_browser_and_system(header, words):
    assert browser(header) == words
