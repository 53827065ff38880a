"""Helpers for sign-in tests: verified users, and the steps of signing in, resetting and enrolling."""

from __future__ import annotations

import re
import time

from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core import mail

from accounts import addresses
from accounts.models import User
from accounts.signin.hashers import OWASPArgon2PasswordHasher
from tests.conftest import make_user

PASSWORD = "correct horse 1"
NEW_PASSWORD = "battery staple 2"


def verified(user):
    addresses.set_address(user, verified=True)
    return user


def unverified(user):
    addresses.set_address(user, verified=False)
    return user


def make_verified(name, **fields):
    return verified(make_user(name, **fields))


def sign_in(client, name, password=PASSWORD, **extra):
    return client.post("/accounts/login/", {"login": name, "password": password}, **extra)


def is_signed_in(client):
    return client.get("/accounts/email/").status_code == 200


def link_in(message):
    """The path of the first link in an email."""
    return re.search(r"https?://[^/\s]+(/\S+)", message.body).group(1)


def last_link():
    return link_in(mail.outbox[-1])


def ask_for_reset(client, email="alice@example.com"):
    mail.outbox.clear()
    response = client.post("/accounts/password/reset/", {"email": email})
    return response, mail.outbox[0] if mail.outbox else None


def follow_reset(client, link, password=NEW_PASSWORD):
    form = client.get(link, follow=True)
    return client.post(form.wsgi_request.path, {"password1": password, "password2": password})


def confirm_identity(client, password=PASSWORD):
    return client.post("/accounts/reauthenticate/", {"password": password})


def code_for(secret, *, shift=1):
    """The app's next code, which is already valid. `enrol` has used the current one."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + shift))


def enrol(client, password=PASSWORD):
    """Set up an authenticator app through its pages. Return its secret."""
    confirm_identity(client, password)
    page = client.get("/accounts/2fa/totp/activate/")
    secret = page.context["form"].secret
    response = client.post("/accounts/2fa/totp/activate/", {"code": code_for(secret, shift=0)})
    assert response.status_code == 302, response.context["form"].errors
    return secret


class CountingHasher(OWASPArgon2PasswordHasher):
    """Counts computed hashes, because their number determines the response time."""

    hashes = 0

    def encode(self, password, salt):
        type(self).hashes += 1
        return super().encode(password, salt)

    def verify(self, password, encoded):
        type(self).hashes += 1
        return super().verify(password, encoded)


class Race:
    """A query wrapper: another user takes the username or address after the form has checked it."""

    def __init__(self, **taken):
        self.taken, self.asked = taken, False

    def __call__(self, execute, sql, params, many, context):
        self.asked = self.asked or '"user"."email" = ' in sql
        if self.taken and self.asked and sql.startswith("SAVEPOINT"):
            taken, self.taken = self.taken, {}
            make_user("rival")
            User.objects.filter(username="rival").update(**taken)
        return execute(sql, params, many, context)
