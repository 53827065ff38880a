"""Secrets in the wrong place are denied in URLs, masked in stored data, and not logged."""

from __future__ import annotations

import json
import logging
from urllib.parse import quote

import pytest
from django.core.exceptions import ValidationError

from accounts.models import User
from apikeys.models import KeyUsage
from apikeys.secrets import CHECKSUM_LENGTH, contains_secret, contains_whole_secret, masked, new_secret
from config.base.logs import SafeFormatter
from ratelimits.models import RateLimit
from tests.apikeys.conftest import make_key
from tests.rows import make_usage
from tiers.models import Tier

SECRET = new_secret()
MASKED = f"{SECRET[:11]}…"


def percent_encoded(text):
    return "".join(f"%{ord(character):02x}" for character in text)


SPELLINGS = {
    "plain": SECRET,
    "a letter encoded": SECRET.replace("a", "%61", 1),
    "the underscore encoded": SECRET.replace("_", "%5F"),
    "encoded": percent_encoded(SECRET),
    "encoded twice": quote(percent_encoded(SECRET)),
    "a letter encoded twice": SECRET.replace("a", "%2561", 1),
    "encoded three times": quote(quote(percent_encoded(SECRET))),
}
PLACES = {
    "path": "/s/{}",
    "path segment's end": "/s/pre{}",
    "path's middle": "/s/{}/orders",
    "parameter": "/s?x={}",
    "parameter's end": "/s?x=pre{}",
    "parameter's start": "/s?x={}post",
    "parameter's name": "/s?{}=1",
    "parameter without a value": "/s?{}",
    "redirect": "/s?next=https%3A%2F%2Fx.test%2F%3Fkey%3D{}",
    "second parameter": "/s?a=1&b={}&c=2",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("place", PLACES)
def test_secret_in_a_url_is_denied(client, key, verify, place, spelling):
    target = PLACES[place].format(SPELLINGS[spelling])
    headers = {"X-API-Key": key.secret, "X-Original-Method": "GET", "X-Original-URI": target}
    response = client.get("/authz/nginx", headers=headers)
    assert (response.status_code, response["X-Auth-Reason"]) == (401, "malformed_key")
    assert verify(key=key.secret, method="GET", path=target)["reason"] == "malformed_key"
    assert verify(key=key.secret, resource="orders", action="read", path=target)["reason"] == "malformed_key"
    assert not KeyUsage.objects.exists()


@pytest.mark.parametrize(
    "name", ["api_key", "auth[api_key]", "auth[x][api_key]", "auth%5Bapi_key%5D", "API_KEY", "access_token"]
)
def test_key_parameter_is_denied_with_any_value(verify, key, name):
    assert verify(key=key.secret, method="GET", path=f"/s?{name}=abc")["reason"] == "malformed_key"


def test_secret_in_a_resource_is_denied(verify, key):
    assert verify(key=key.secret, action="read", resource=f"/s/{SECRET}")["reason"] == "malformed_key"


def test_protected_views_deny_a_secret_in_the_url(client, key):
    response = client.get("/api/v1/whoami", headers={"X-API-Key": key.secret}, RAW_URI=f"/api/v1/whoami?x=pre{SECRET}")
    assert response.status_code == 401


@pytest.mark.parametrize(
    "target", ["/aggregate_monthlyRevenueReport", "/gate_keepers", "/x?q=gate_", f"/{SECRET[:-1]}", "/%67ate_x"]
)
def test_text_that_only_starts_like_a_secret_is_allowed(verify, key, target):
    assert verify(key=key.secret, method="GET", path=target)["allowed"]


# --- Stored data ---


def test_usage_rows_contain_no_secret(verify, key, staff_client):
    broken = SECRET[:-1] + ("1" if SECRET[-1] == "0" else "0")  # not a secret: its checksum is wrong
    for path in (f"/s/{broken}", f"/s/{broken.replace('_', '%5F')}", f"/s/{broken}/../x"):
        verify(key=key.secret, method="GET", path=path, user_agent=f"tool/1 {SECRET}")
    rows = list(KeyUsage.objects.values_list("endpoint", "user_agent"))
    assert len(rows) == 3
    assert broken[12:] not in str(rows)
    assert SECRET[12:] not in str(rows)
    assert all(agent == f"tool/1 {MASKED}" for _, agent in rows)
    for url in ("/admin/usage/requests/", "/admin/usage/requests/?format=csv", "/admin/usage/"):
        response = staff_client.get(url)
        text = (response.getvalue() if response.streaming else response.content).decode()
        assert broken[12:] not in text
        assert SECRET[12:] not in text


@pytest.mark.parametrize("cut", [1, CHECKSUM_LENGTH, 30])
def test_usage_rows_contain_no_truncated_secret(verify, key, cut):
    part = SECRET[:-cut]
    verify(key=key.secret, method="GET", path=f"/s/{part}/x", user_agent=f"tool/1 {part.replace('_', '%5F')}")
    row = KeyUsage.objects.get()
    assert row.endpoint == f"/s/{MASKED}/x"
    assert row.user_agent == f"tool/1 {MASKED.replace('_', '%5F')}"


@pytest.mark.parametrize("host", [SECRET, f"{SECRET}.example.com", f"pre{SECRET}.example.com:8443"])
def test_secret_in_a_host_is_masked(verify, key, host):
    # In lower case, too: the checksum leaves only a few ways to capitalize the letters.
    verify(key=key.secret, method="GET", path="/orders", host=host)
    stored = KeyUsage.objects.get().host
    assert MASKED.lower() in stored
    assert SECRET[12:].lower() not in stored


def test_secrets_in_usage_reports_are_masked(client, key):
    event = make_usage(key)
    report = {
        "event_id": str(event.pk),
        "error_message": f"no key {SECRET}",
        "metadata": {"url": f"/x?k={percent_encoded(SECRET)}", SECRET: [{"deep": SECRET}], "name": "Zoë"},
    }
    assert client.post("/authz/usage", [report], content_type="application/json").json()["recorded"] == 1
    event.refresh_from_db()
    assert event.error_message == f"no key {MASKED}"
    assert event.metadata[MASKED] == [{"deep": MASKED}]
    assert event.metadata["name"] == "Zoë"
    assert SECRET[12:] not in json.dumps(event.metadata)
    assert percent_encoded(SECRET)[60:] not in json.dumps(event.metadata)


@pytest.mark.parametrize("text", [SECRET, f"key {SECRET}", f"pre{SECRET}post", SECRET.replace("_", "%5F")])
def test_text_fields_reject_secrets(free, alice, text):
    key = make_key(alice)
    for row, field in (
        (Tier(name="x"), "description"),
        (RateLimit(tier=free, path="/x", limit=1, period=1), "name"),
        (User(username="x", email="x@example.com"), "name"),
        (key, "name"),
        (key, "revoked_reason"),
    ):
        setattr(row, field, text)
        with pytest.raises(ValidationError, match="Remove the API key"):
            row._meta.get_field(field).clean(text, row)


@pytest.mark.parametrize("metadata", [{"a": SECRET}, {SECRET: 1}, {"a": [{"b": f"x {SECRET}"}]}])
def test_key_metadata_rejects_secrets(alice, metadata):
    key = make_key(alice)
    key.metadata = metadata
    with pytest.raises(ValidationError, match="Remove the API key"):
        key.full_clean()


def test_form_with_a_secret_shows_an_error(client, alice):
    client.force_login(alice)
    data = {"name": SECRET, "everything": "on"}
    page = client.post("/account/keys/new/", data).content.decode()
    assert "Remove the API key. Other people can read this text" in page
    assert not alice.api_keys.exists()


# --- Pages ---


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "url",
    [
        "/users/?q={}",
        "/users/?tier=1&x=pre{}",
        "/users/{}/",
        "/admin/tiers/tier/?{}=1",
        "/account/keys/?next=%2Fx%3F{}",
    ],
)
def test_page_url_with_a_secret_is_redirected(staff_client, url, spelling):
    response = staff_client.get(url.format(SPELLINGS[spelling]))
    assert response.status_code == 302
    assert response["Location"] == "/admin/apikeys/apikey/find/"


def test_owner_is_redirected_to_the_url_without_the_secret(client, alice):
    client.force_login(alice)
    assert client.get(f"/account/keys/?q={SECRET}")["Location"] == "/account/keys/"
    assert client.get(f"/account/{SECRET}/")["Location"] == "/account/"
    assert client.get(f"/other/{SECRET}/").status_code == 404


# --- Logs ---


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_logs_contain_no_secret_in_any_spelling(spelling):
    text = SPELLINGS[spelling]
    try:
        int(text)
    except ValueError as error:
        fields = {"msg": "Asked for %s", "args": (text,), "exc_info": (ValueError, error, error.__traceback__)}
    line = SafeFormatter("%(message)s").format(logging.makeLogRecord(fields))
    assert text[len(text) // 2 :] not in line
    assert line.startswith("Asked for ")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_secrets_that_are_found_are_masked(spelling):
    text = f"/a/{SPELLINGS[spelling]}/b"
    assert contains_secret(text)
    assert contains_whole_secret(text)
    assert not contains_secret(masked(text))
    assert masked(text).startswith("/a/")
    assert masked(text).endswith("…/b")
