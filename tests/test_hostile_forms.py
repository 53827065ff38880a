"""Submit every form with one field at a time tampered with. The response is never a 5xx."""

from __future__ import annotations

import re

import pytest
from django.db import connection

from accounts.management.groups import create_groups
from tests.accounts.people import make_event, signed_in
from tests.pages import forms_in
from tests.rows import make_key, make_limit

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_formsets")]

TAMPERED = ("", "-1", "9" * 30, "1e309", "\0", "é💥", "x" * 5000)
# Values that the databases treat differently. Other values are rejected by forms, on both databases.
HARD_TO_STORE = ("9" * 30, "1e309", "\0", "x" * 5000)
SEARCH = "/admin/search/"
STAFF_PAGES = (
    SEARCH, "/users/", "/users/add/", "/users/import/", "/users/{alice}/", "/users/{alice}/edit/", "/users/{alice}/tier/",
    "/users/{alice}/limits/add/",
    "/users/{alice}/limits/{own}/", "/users/{alice}/limits/{own}/end/", "/users/{alice}/suspend/", "/users/{alice}/delete/",
    "/admin/tiers/tier/", "/admin/tiers/tier/add/", "/admin/tiers/tier/{tier}/change/",
    "/admin/ratelimits/ratelimit/", "/admin/ratelimits/ratelimit/add/", "/admin/ratelimits/ratelimit/{limit}/change/",
    "/admin/ratelimits/copy/", "/admin/ratelimits/match/", "/admin/ratelimits/limited/", "/admin/apikeys/apikey/",
    "/admin/apikeys/apikey/add/", "/admin/apikeys/apikey/find/", "/admin/apikeys/apikey/{key}/change/",
    "/admin/apikeys/apikey/{key}/rotate/", "/admin/apikeys/apikey/{key}/expire/", "/admin/apikeys/apikey/{key}/revoke/",
    "/admin/apikeys/explain/", "/admin/apikeys/hygiene/", "/admin/usage/", "/admin/usage/requests/", "/admin/accounts/user/{alice}/change/",
    "/admin/auth/group/add/", "/users/{alice}/erase/", "/admin/jobs/", "/users/{alice}/top-up/",
)  # fmt: skip
ACCOUNT_PAGES = (
    "/account/", "/account/usage/", "/account/usage/requests/", "/account/keys/", "/account/keys/new/", "/account/keys/{key}/edit/",
    "/account/keys/{key}/rotate/", "/account/keys/{key}/expire/", "/account/keys/{key}/revoke/", "/accounts/email/",
    "/accounts/password/change/", "/accounts/sessions/", "/accounts/reauthenticate/", "/account/close/", "/account/settings/",
)  # fmt: skip
VISITOR_PAGES = ("/accounts/login/", "/accounts/signup/", "/accounts/password/reset/")


def forms_of(client, address):
    answer = client.get(address, follow=True)
    assert answer.status_code == 200
    forms = forms_in(answer.content.decode(), address)
    return [
        form
        for form in forms
        if not form.address.startswith(("/accounts/logout/", "/admin/logout/", "/account/theme/"))
    ]


def is_worth_tampering(name):
    """Skip the CSRF token, which the test client doesn't need, template rows for scripts, and all but the first row."""
    return name != "csrfmiddlewaretoken" and not re.search(r"-(__prefix__|[1-9])-", name)


def tampered_with(form):
    """The form's data with one field changed at a time, and on SQLite also with one field missing."""
    on_sqlite = connection.vendor == "sqlite"
    for name in filter(is_worth_tampering, form.fields):
        for value in TAMPERED if on_sqlite else HARD_TO_STORE:
            yield name, {**form.sent, name: value}
        if on_sqlite:
            yield name, {key: value for key, value in form.sent.items() if key != name}


def send(client, form, data):
    answer = (client.post if form.method == "post" else client.get)(form.address, data)
    if answer.streaming:
        answer.getvalue()
    return answer


@pytest.fixture
def places(alice, free, settings):
    """Values for parameters in URLs."""
    settings.RATE_LIMIT_STORE = "memory"
    create_groups()
    key = make_key(alice)
    make_event(key)
    limit, own = make_limit(free), make_limit(None, "/orders", user=alice)
    make_limit(None, user=alice, name="prepaid", window="total")
    return {"alice": alice.pk, "tier": free.pk, "limit": limit.pk, "own": own.pk, "key": key.pk}


def check_page(client, address):
    for form in forms_of(client, address):
        # The search form is the same on every staff page.
        if form.address == SEARCH and address != SEARCH:
            continue
        for name, data in tampered_with(form):
            status = send(client, form, data).status_code
            assert status < 500, f"{form.method} {form.address} with {name}={data.get(name, '(left out)')[:40]!r}"


@pytest.mark.parametrize("page", STAFF_PAGES)
def test_staff_pages_handle_tampered_fields(client, sue, places, page):
    check_page(signed_in(sue), page.format(**places))


@pytest.mark.parametrize("page", ACCOUNT_PAGES)
def test_account_pages_handle_tampered_fields(alice, places, page):
    check_page(signed_in(alice), page.format(**places))


@pytest.mark.parametrize("page", VISITOR_PAGES)
def test_public_pages_handle_tampered_fields(client, places, page):
    check_page(client, page)
