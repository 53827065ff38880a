"""POST /authz/verify: every verdict is HTTP 200, and every invalid request gets a 4xx that says why."""

from __future__ import annotations

import io
import json

import pytest

from apikeys.gateway.verify import MAX_BODY_BYTES
from apikeys.models import KeyUsage
from apikeys.secrets import new_secret
from ratelimits.models import RateLimit
from ratelimits.rules import forget_rules
from tests.apikeys.conftest import make_key


@pytest.fixture
def post(client):
    def post(body, content_type="application/json", **headers):
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        return client.post("/authz/verify", text, content_type=content_type, headers=headers)

    return post


def test_allowed_response_is_complete(verify, key, alice, free):
    answer = verify(key=key.secret, method="GET", path="/orders/7?x=1", ip="203.0.113.9", user_agent="worker/1")
    event = KeyUsage.objects.get()
    assert answer == {
        "allowed": True,
        "status": 200,
        "reason": "",
        "key": {"id": str(key.pk), "name": "a key", "prefix": key.prefix, "last4": key.last4},
        "user": {"id": alice.pk, "username": "alice"},
        "tier": {"id": free.pk, "name": "free"},
        "limits": [
            {
                "name": "default",
                "limit": 100,
                "period": 60,
                "window": "rolling",
                "unit": "requests",
                "mode": "enforce",
                "remaining": 99,
                "reset_after": 1,
                "retry_after": 0,
                "exceeded": False,
            }
        ],
        "retry_after": None,
        "event_id": str(event.pk),
    }
    assert (event.endpoint, event.ip_address, event.user_agent) == ("/orders/7", "203.0.113.9", "worker/1")


def test_denial_is_http_200(verify, key):
    answer = verify(key=new_secret(), method="GET", path="/orders")
    assert (answer["allowed"], answer["status"], answer["reason"]) == (False, 401, "unknown_key")
    assert (answer["key"], answer["user"], answer["tier"], answer["limits"], answer["event_id"]) == (None,) * 3 + (
        [],
        None,
    )


def test_rate_limited_response_says_when_to_retry(verify, alice, counters):
    key = make_key(alice, rate_limit=1, rate_period=60)
    verify(key=key.secret, method="GET", path="/orders")
    answer = verify(key=key.secret, method="GET", path="/orders")
    assert (answer["allowed"], answer["status"], answer["reason"]) == (False, 429, "rate_limited")
    assert 1 <= answer["retry_after"] <= 60
    own = next(limit for limit in answer["limits"] if limit["name"] == "key")
    assert (own["remaining"], own["exceeded"]) == (0, True)
    assert answer["event_id"] == str(KeyUsage.objects.get(status_code=429).pk)


def test_key_can_be_sent_in_a_header(post, key):
    question = {"method": "GET", "path": "/orders"}
    for headers in ({"X-API-Key": key.secret}, {"Authorization": f"Bearer {key.secret}"}):
        assert post(question, **headers).json()["allowed"]
    assert post({**question, "key": key.secret}, **{"X-API-Key": key.secret}).json()["allowed"]
    assert post(question).json()["reason"] == "missing_key"
    assert post({**question, "key": ""}).json()["reason"] == "malformed_key"


def test_key_in_the_path_is_denied(verify, key):
    assert verify(key=key.secret, method="GET", path=f"/o?api_key={key.secret}")["reason"] == "malformed_key"


@pytest.mark.parametrize(
    ("permission", "resource", "action", "allowed"),
    [
        ("read orders", "orders", "read", True),
        ("read orders", "orders", "update", False),
        ("read orders", "invoices", "read", False),
        ("read orders", "Orders", "read", False),
        ("* orders", "orders", "delete", True),
        ("read *", "orders", "read", True),
        ("read /*", "orders", "read", True),
        ("read /orders", "orders", "read", False),
        ("read orders", "/orders", "read", False),
        ("read /orders/{id}", "/orders/7", "read", True),
    ],
)
def test_named_resource_is_matched_by_name(verify, alice, counters, permission, resource, action, allowed):
    key = make_key(alice, allow=[permission])
    answer = verify(key=key.secret, resource=resource, action=action)
    assert (answer["allowed"], answer["reason"]) == (allowed, "" if allowed else "permission_denied")
    assert KeyUsage.objects.get().endpoint == resource


def test_resource_with_a_path_is_checked_like_a_path(verify, key):
    assert verify(key=key.secret, resource="/a/../b", action="read")["reason"] == "ambiguous_path"


def test_resource_replaces_the_path_only_in_permissions(verify, alice, counters):
    key = make_key(alice, allow=["update orders"])
    answer = verify(key=key.secret, resource="orders", action="update", method="POST", path="/v2/orders")
    assert answer["allowed"]
    assert (KeyUsage.objects.get().endpoint, KeyUsage.objects.get().method) == ("/v2/orders", "POST")


@pytest.mark.parametrize(
    ("path", "resource", "reason"),
    [
        ("/orders?api_key=", "orders", ""),
        ("/orders", "/orders?api_key=abc", "malformed_key"),
        ("/orders?page=2", "/orders?api_key=abc", "malformed_key"),
    ],
)
def test_path_and_resource_are_searched_for_keys_apart(verify, key, path, resource, reason):
    assert verify(key=key.secret, path=path, resource=resource, action="read")["reason"] == reason


def test_action_of_a_named_resource_defaults_to_the_methods(verify, alice, counters):
    key = make_key(alice, allow=["create orders"])
    assert verify(key=key.secret, resource="orders", method="POST")["allowed"]
    assert not verify(key=key.secret, resource="orders", method="GET")["allowed"]


def test_named_resource_is_limited_like_the_path_of_that_name(verify, key, free):
    RateLimit.objects.create(tier=free, name="slow orders", path="/orders", limit=1, period=60)
    forget_rules()
    assert verify(key=key.secret, resource="orders", action="read")["limits"][0]["name"] == "slow orders"
    assert verify(key=key.secret, resource="orders", action="read")["status"] == 429


# Outside a transaction, because with cost 0 the limiter reads counters on its own connection.
@pytest.mark.django_db(transaction=True)
def test_cost_is_charged_and_zero_is_not(verify, alice, counters):
    key = make_key(alice, rate_limit=10, rate_period=60)

    def remaining(**question):
        answer = verify(key=key.secret, method="GET", path="/orders", **question)
        return answer["status"], next(limit["remaining"] for limit in answer["limits"] if limit["name"] == "key")

    assert remaining(cost=7) == (200, 3)
    assert remaining(cost=0) == (200, 3)
    assert remaining(cost=4) == (429, 3)
    assert remaining(cost=3) == (200, 0)
    assert remaining(cost=0) == (200, 0)
    assert KeyUsage.objects.count() == 5


def test_key_with_allowed_addresses_needs_the_client_address(verify, alice, counters):
    key = make_key(alice, allowed_ips=["2001:db8::/32"])
    assert verify(key=key.secret, method="GET", path="/", ip="2001:db8::1")["allowed"]
    assert verify(key=key.secret, method="GET", path="/")["reason"] == "address_not_allowed"


TITLES = {400: "Bad request", 413: "Content too large"}
BASE = {"key": "k", "method": "GET", "path": "/"}
INVALID = {
    "no JSON": (" ", 400),
    "broken": ("{", 400),
    "a list": ([], 400),
    "a number": (7, 400),
    "null": ("null", 400),
    "NaN": ('{"cost": NaN}', 400),
    "infinity": ('{"cost": Infinity}', 400),
    "not UTF-8": (b'{"key": "\xff"}', 400),
    "nested": ("[" * 50_000, 400),
    "long number": ("1" * 5_000, 400),
    "nothing asked": ({"key": "k"}, 400),
    "no resource": ({"key": "k", "method": "GET"}, 400),
    "no action": ({"key": "k", "path": "/"}, 400),
    "misspelled": ({**BASE, "methd": "GET"}, 400),
    "key as number": ({**BASE, "key": 7}, 400),
    "key as list": ({**BASE, "key": ["k"]}, 400),
    "method with blank": ({**BASE, "method": "GET /"}, 400),
    "method empty": ({**BASE, "method": ""}, 400),
    "long method": ({**BASE, "method": "A" * 33}, 400),
    "path as number": ({**BASE, "path": 1}, 400),
    "long path": ({**BASE, "path": "/" * 20_000}, 400),
    "unknown action": ({"key": "k", "resource": "orders", "action": "steal"}, 400),
    "any action": ({"key": "k", "resource": "orders", "action": "*"}, 400),
    "empty resource": ({"key": "k", "resource": "", "action": "read"}, 400),
    "resource with NUL": ({"key": "k", "resource": "a\0b", "action": "read"}, 400),
    "no address": ({**BASE, "ip": "localhost"}, 400),
    "address as number": ({**BASE, "ip": 1}, 400),
    "negative cost": ({**BASE, "cost": -1}, 400),
    "half a cost": ({**BASE, "cost": 0.5}, 400),
    "huge cost": ({**BASE, "cost": 10**30}, 400),
    "cost as text": ({**BASE, "cost": "1"}, 400),
    "cost true": ({**BASE, "cost": True}, 400),
    "agent as number": ({**BASE, "user_agent": 1}, 400),
    "too large": ({**BASE, "user_agent": "a" * 70_000}, 413),
}


@pytest.mark.parametrize(("body", "status"), INVALID.values(), ids=INVALID)
def test_invalid_request_gets_a_4xx_with_detail(post, body, status):
    response = post(body)
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    assert response.json()["detail"]
    # RFC 9457, section 4.2.1.
    assert response.json()["title"] == TITLES[status]


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_other_content_types_are_rejected(post, content_type):
    response = post("{}", content_type)
    assert (response.status_code, response.json()["title"]) == (415, "Unsupported media type")


def test_charset_parameter_is_accepted(post, key):
    response = post({**BASE, "key": key.secret}, "application/json; charset=utf-8")
    assert response.json()["allowed"]


@pytest.mark.parametrize(("padding", "status"), [(0, 200), (MAX_BODY_BYTES, 413)])
def test_chunked_body_is_read_up_to_the_limit(client, key, padding, status):
    question = " " * padding + json.dumps({"key": key.secret, "method": "GET", "path": "/orders"})
    # As gunicorn passes on a chunked body.
    chunks = {"wsgi.input": io.BytesIO(question.encode()), "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    response = client.post("/authz/verify", content_type="application/json", **chunks)
    assert response.status_code == status
    assert response.json().get("allowed", False) is (status == 200)


def test_body_with_invalid_length_is_rejected(client):
    response = client.post("/authz/verify", "{}", content_type="application/json", CONTENT_LENGTH="many")
    assert response.status_code == 413


def test_errors_do_not_echo_what_was_sent(post):
    secret = new_secret()
    for body in ({**BASE, "key": [secret]}, {**BASE, secret: 1}, f'{{"key": "{secret}"'):
        assert secret not in post(body).content.decode()


@pytest.mark.parametrize("null", ["method", "ip", "cost", "user_agent", "action", "resource"])
def test_null_counts_as_missing(verify, key, null):
    question = {"key": key.secret, "path": "/", "action": "read", "method": "GET"} | {null: None}
    assert verify(**question)["allowed"]


def test_whole_floats_count_as_integers(verify, key):
    assert verify(**{**BASE, "key": key.secret, "cost": 1.0})["allowed"]


def test_lone_surrogates_are_accepted(post, key):
    for name in ("key", "path", "user_agent"):
        body = json.dumps({**BASE, "key": key.secret}).replace("}", f', "{name}": "/\\ud800"}}')
        assert post(body).status_code == 200


@pytest.mark.parametrize("ip", ["203.0.113.9:40001", "[::ffff:203.0.113.9]:443", '"203.0.113.9"'])
def test_address_may_have_a_port_or_quotes(verify, key, ip):
    key.allowed_ips = ["203.0.113.9"]
    key.save()
    assert verify(key=key.secret, method="GET", path="/orders", ip=ip)["allowed"] is True
    assert verify(key=key.secret, method="GET", path="/orders", ip="203.0.113.90:9")["reason"] == "address_not_allowed"


def test_openapi_schema_is_published_to_gateways(client):
    description = client.get("/authz/openapi.json").json()
    assert set(description["paths"]) == {"/authz/verify", "/authz/usage"}
    question = description["paths"]["/authz/verify"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(question["properties"]) == {
        "key",
        "method",
        "path",
        "resource",
        "action",
        "host",
        "ip",
        "cost",
        "user_agent",
    }
    assert client.post("/authz/openapi.json").status_code == 405
