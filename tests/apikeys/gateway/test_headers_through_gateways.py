"""Clients forge, repeat and drop headers, and send too many, through real nginx, Caddy and Envoy."""

from __future__ import annotations

import http.client
import itertools
import re

import pytest

from apikeys.gateway.answers import EMPTY_IDENTITY
from apikeys.models import KeyUsage
from apikeys.secrets import new_secret
from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.servers import call, gateway_and_gatehouse
from tiers.models import Tier

pytestmark = [pytest.mark.gateway, pytest.mark.django_db(transaction=True)]

SECRET = "between-us"


@pytest.fixture(scope="module", params=["nginx", "caddy", "envoy"])
def gateway(request, tmp_path_factory, echo, django_db_setup):
    """A gateway in front of the echo API, with a Gatehouse that allows preflights."""
    directory = tmp_path_factory.mktemp(request.param)
    with gateway_and_gatehouse(request.param, directory, echo, secret=SECRET, ALLOW_CORS_PREFLIGHT="true") as (
        process,
        _,
    ):
        yield process


@pytest.fixture
def front(gateway, echo, counters):
    echo.arrived.clear()
    return gateway


def spellings(name, marks="-_"):
    first, *words = name.split("-")
    for chosen in itertools.product(marks, repeat=len(words)):
        yield first + "".join(mark + word for mark, word in zip(chosen, words, strict=True))


def identity(answer):
    """(name, value) of the headers that a server would read as identity headers if it treats all punctuation alike."""
    arrived = ((re.sub(r"[^a-z0-9]", "-", name.lower()), value) for name, value in answer.json()["headers"])
    return sorted((name, value) for name, value in arrived if name.startswith("x-auth-"))


def identity_of(key):
    """What `identity` returns if the API got only the identity of this key's last request."""
    event = KeyUsage.objects.filter(api_key=key).latest("pk")
    values = (key.user_id, key.user.username, key.user.tier.name, key.pk, event.pk)
    return sorted((name.lower(), str(value)) for name, value in zip(EMPTY_IDENTITY, values, strict=True))


def test_forged_identity_headers_do_not_reach_the_api_in_any_spelling(front, alice):
    key = make_key(alice)
    names = [name for header in EMPTY_IDENTITY for name in spellings(header, "-_.")]
    for change in (str.lower, str.upper, str):
        forged = {change(name): ["forged", "forged-again"] for name in names}
        answer = call(front.port, path="/orders", headers={**forged, "X-API-Key": key.secret})
        assert answer.status == 200, answer.body
        assert identity(answer) == identity_of(key)


def test_internal_headers_do_not_reach_the_api(front, alice):
    key = make_key(alice)
    sent = {"X-API-Key": key.secret, "X-Gateway-Secret": "guess", "X-Authorization": "mine", "X-Custom": "mine"}
    if front.kind != "nginx":
        sent |= {"X-Auth-Anything": "forged"}
    answer = call(front.port, path="/orders", headers=sent)
    arrived = {name.lower(): value for name, value in answer.json()["headers"]}
    assert "x-gateway-secret" not in arrived
    assert "x-auth-anything" not in arrived
    assert (arrived["x-authorization"], arrived["x-custom"]) == ("mine", "mine")
    assert SECRET not in str(arrived)


def test_header_name_with_a_space_does_not_reach_the_api(front, echo, alice):
    sent = {"X-API-Key": make_key(alice).secret, "X-Auth-User-Id ": "forged"}
    assert call(front.port, path="/orders", headers=sent).status == 400
    assert not echo.arrived


def test_preflight_without_a_key_has_no_identity(front, echo):
    forged = dict.fromkeys(EMPTY_IDENTITY, "1") | dict.fromkeys(["X-Auth_User-Id", "X_Auth_User_Id"], "1")
    preflight = {**forged, "Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"}
    answer = call(front.port, "OPTIONS", "/orders", preflight)
    assert answer.status == 200
    assert {value for _, value in identity(answer)} <= {""}
    echo.arrived.clear()
    for headers in (forged, {**preflight, "X-API-Key": new_secret()}):
        assert call(front.port, "OPTIONS", "/orders", headers).status == 401
    assert call(front.port, "GET", "/orders", preflight).status == 401
    assert not echo.arrived


def test_non_ascii_tier_name_is_percent_encoded(front, alice):
    Tier.objects.filter(pk=alice.tier_id).update(name="Größe 100 % 日本")
    answer = call(front.port, path="/orders", headers={"X-API-Key": make_key(alice).secret})
    assert dict(identity(answer))["x-auth-tier"] == "Gr%C3%B6%C3%9Fe 100 %25 %E6%97%A5%E6%9C%AC"


def test_user_without_a_tier_gets_an_empty_tier_header(front, alice):
    alice.tier = None
    alice.save()
    answer = call(front.port, path="/orders", headers={"X-API-Key": make_key(alice).secret, "X-Auth-Tier": "gold"})
    assert answer.status == 200, answer.body
    found = dict(identity(answer))
    assert found["x-auth-username"] == "alice"
    assert found.get("x-auth-tier", "") == ""


NAMED_IN_CONNECTION = [
    "close, X-Auth-User-Id",
    "X-Auth-User-Id, X-Auth-Username, X-Auth-Tier, X-Auth-Key-Id, X-Auth-Event-Id",
    "keep-alive, x-auth-user-id,x-auth-key-id",
    "X-Original-Method, X-Original-URI, X-Real-IP, X-Gateway-Secret",
    "X-Forwarded-Method, X-Forwarded-Uri, X-Gateway-Secret, Host",
    "X-Forwarded-For, X-Forwarded-Host, X-Forwarded-Proto",
    "Content-Length, Transfer-Encoding, User-Agent",
    "Upgrade, X-Auth-User-Id, X-Auth-Key-Id",
]
UPGRADES = [{}, {"Upgrade": "websocket"}, {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}]


def test_identity_header_named_in_connection_reaches_the_api(front, echo, alice):
    key = make_key(alice, allow=["read /orders"])
    for named, also in itertools.product(NAMED_IN_CONNECTION, UPGRADES):
        sent = {"X-API-Key": key.secret, "Connection": named, "TE": "trailers", **also}
        answer = call(front.port, path="/orders", headers=sent)
        if front.kind == "envoy" and answer.status != 200:
            # Envoy rejects requests that drop the X-Forwarded headers or that upgrade.
            assert answer.status in {400, 403}
        else:
            assert (answer.status, identity(answer)) == (200, identity_of(key)), (named, also)
            assert "h2c" not in str(answer.json()["headers"])
    for name in ("X-API-Key", "X-API-Key, X-Auth-User-Id"):
        assert call(front.port, path="/orders", headers={**sent, "Connection": name}).status in {200, 401}


def test_header_named_in_connection_does_not_bypass_checks(front, echo, alice):
    key = make_key(alice, allow=["read /orders"])
    for named in NAMED_IN_CONNECTION:
        sent = {"X-API-Key": key.secret, "Connection": named, "X-Original-URI": "/orders", "X-Forwarded-Uri": "/orders"}
        assert call(front.port, path="/secret", headers=sent).status in {400, 403}
        assert call(front.port, "DELETE", "/orders", {**sent, "X-Forwarded-Method": "GET"}).status in {400, 403}
        assert call(front.port, path="/orders", headers={"Connection": named}).status in {400, 401}
    assert not echo.arrived


def test_caddy_upgrades_websockets(front, alice):
    key = make_key(alice)
    sent = {"X-API-Key": key.secret, "Connection": "keep-alive, Upgrade, X-Auth-User-Id", "Upgrade": "WebSocket"}
    answer = call(front.port, path="/orders", headers=sent)
    if front.kind == "caddy":
        arrived = {name.lower(): value for name, value in answer.json()["headers"]}
        assert (arrived["connection"], arrived["upgrade"]) == ("Upgrade", "websocket")
        assert identity(answer) == identity_of(key)


MANY = {f"X-Small-{number}": "1" for number in range(110)}
VALID = [
    MANY,
    {f"A{number}": "1" for number in range(900)},
    {"Content-Type": ["text/plain", "application/json"]},
    {"Content-Type": ["text/plain"] * 3},
    {"Cookie": "a=" + "b" * 7_000},
    {"Cookie": ["a=1", "b=2"]},
    {"Accept": ["text/html", "text/plain"]},
    {"X-Small": "x" * 7_000},
    {"X-Latin": "caf\xe9 \xff", "User-Agent": "na\xefve \xff"},
    {
        "If-Match": '"a"',
        "If-None-Match": "*",
        "If-Modified-Since": "Thu, 01 Jan 2026 00:00:00 GMT",
        "Range": "bytes=0-1",
    },
    {"Odd.Name": "1", "Odd~Name": "1", "Odd_Name": "1", "!": "1"},
    {"Content-Encoding": "gzip", "Content-Language": ["de", "en"]},
]


@pytest.fixture
def any_number_of_headers(monkeypatch):
    """By default, the echo server accepts 100."""
    monkeypatch.setattr(http.client, "_MAXHEADERS", 5000)


def test_unusual_headers_with_a_valid_key_are_allowed(any_number_of_headers, front, alice):
    key = make_key(alice)
    for odd in VALID:
        answer = call(front.port, path="/orders", headers={"X-API-Key": key.secret, **odd})
        assert answer.status == 200, (odd, answer.body)
        assert identity(answer) == identity_of(key)


def credentials(good, other):
    return [
        {"X-API-Key": [good, other]},
        {"X-API-Key": [good, ""]},
        {"X-API-Key": ["", good]},
        {"Authorization": f"Bearer {good}", "X-API-Key": other},
        {"Authorization": [f"Bearer {good}", f"Bearer {other}"]},
        {"Authorization": [f"Bearer {good}", "Basic YTpi"]},
        {"Authorization": ["Basic YTpi", f"Bearer {good}"]},
    ]


def test_different_credentials_are_denied_in_any_headers(front, echo, alice):
    for headers in credentials(make_key(alice).secret, make_key(alice).secret):
        # nginx 1.22 itself rejects a second Authorization.
        assert call(front.port, path="/orders", headers=headers).status in {400, 401}, headers
    assert not echo.arrived


INVALID = [
    {"X-Odd": "a\x01b"},
    {"X-Odd": "a\x7fb"},
    {"Host": "a b"},
    {"Content-Length": ["1", "2"]},
    {f"A{number}": "1" for number in range(2_000)},
    {"X-Odd": "x" * 70_000},
    {f"X-Odd-{number}": "x" * 7_000 for number in range(1_001)},
]


def test_invalid_headers_are_rejected_with_a_reason(front, echo, alice):
    key = make_key(alice)
    for odd in INVALID:
        try:
            answer = call(front.port, path="/orders", headers={"X-API-Key": key.secret, **odd})
        except ConnectionError:
            continue  # closed while the client was sending megabytes
        assert answer.status in {400, 431}, (list(odd)[:2], answer.body)
        assert re.search("(?i)header|bad request", answer.body.decode())
    assert not echo.arrived


@pytest.mark.parametrize(
    ("odd", "status", "message"), [(MANY, 431, "header fields"), ({"X-Odd": "\x01"}, 400, "malformed")]
)
def test_nginx_passes_on_why_gunicorn_rejected_headers(tmp_path, echo, counters, alice, odd, status, message):
    echo.arrived.clear()
    # nginx takes as many fields as config/gunicorn.py: only a lower limit shows what it makes of that answer.
    with gateway_and_gatehouse("nginx", tmp_path, echo, "--limit-request-fields", "100", secret=SECRET) as (front, _):
        answer = call(front.port, path="/orders", headers={"X-API-Key": make_key(alice).secret, **odd})
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert (answer.json()["status"], answer.headers["Cache-Control"]) == (status, "no-store")
    assert message in answer.json()["detail"]
    assert not echo.arrived
