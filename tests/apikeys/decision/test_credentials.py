"""The format of a credential is checked first: a malformed one is never looked up and never causes an error."""

from __future__ import annotations

import json

import pytest

from apikeys.decision.credentials import MALFORMED, MISSING, Credential, read_credential
from apikeys.secrets import new_secret
from tests.apikeys.gateway.malformed import GOOD, HEADERS, OTHER, QUERIES

# Tests here don't request the database: pytest-django blocks every query, which would give a 503.
REFUSED = (401, "malformed_key")


def reason_of(response):
    return response.status_code, response.json()["reason"]


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_malformed_credential_is_denied_without_queries(ask, headers):
    response = ask(None, **headers)
    assert reason_of(response) == REFUSED
    assert response["WWW-Authenticate"] == 'Bearer realm="api", error="invalid_token"'


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_key_in_the_query_is_denied_even_with_a_valid_header(ask, query):
    assert reason_of(ask(None, uri=f"/orders?{query}")) == REFUSED
    assert reason_of(ask(GOOD, uri=f"/orders?{query}")) == REFUSED


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_verify_denies_malformed_key_in_body(verify, headers):
    given = headers.get("X-API-Key", headers.get("Authorization", "").removeprefix("Bearer "))
    if len(headers) == 1 and given != GOOD:
        answer = verify(key=given, method="GET", path="/orders")
        assert (answer["status"], answer["reason"], answer["event_id"]) == (*REFUSED, None)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Basic YTpi"}, {"Authorization": f"Token {GOOD}"}, {"Authorization": ""}],
    ids=["none", "Basic", "another scheme", "empty"],
)
def test_other_schemes_count_as_a_missing_key(ask, headers):
    response = ask(None, **headers)
    assert reason_of(response) == (401, "missing_key")
    assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_denial_does_not_echo_the_key(ask):
    response = ask(f"{GOOD}x")
    assert GOOD not in response.content.decode() + str(response.headers)


@pytest.mark.parametrize(
    ("authorization", "api_key"),
    [
        (f"Bearer {GOOD}", None),
        (f"bearer {GOOD}", None),
        (f"BEARER  {GOOD}  ", None),
        (f"Bearer\t{GOOD}", None),
        ("", GOOD),
        ("", f" {GOOD} "),
        (f"Bearer {GOOD}", GOOD),
        ("Basic YTpi", GOOD),
    ],
)
def test_key_is_read_from_either_header(authorization, api_key):
    assert read_credential(authorization, api_key) == Credential(secret=GOOD)


@pytest.mark.parametrize(
    "query",
    ["", "page=2", "token=abc", "x[key]=abc", "auth[api_key]=", "key=abc", "api_key=", "q=gate_keeper", "%zz=%zz"],
)
def test_query_without_a_key_is_ignored(query):
    target = f"/aggregate_monthlyRevenueReportOfTheYear?{query}"
    assert read_credential(f"Bearer {GOOD}", None, target) == Credential(secret=GOOD)
    assert read_credential("", None, target) == MISSING


def test_different_keys_in_both_headers_are_denied():
    assert read_credential(f"Bearer {GOOD}", OTHER) == MALFORMED


def test_verify_denies_different_keys_in_body_and_header(client):
    def ask(**headers):
        question = json.dumps({"key": GOOD, "method": "GET", "path": "/orders"})
        response = client.post("/authz/verify", question, content_type="application/json", headers=headers)
        return response.json()["reason"]

    assert ask(**{"X-API-Key": new_secret()}) == "malformed_key"
    assert ask(**{"X-API-Key": "nonsense"}) == "malformed_key"


def test_repr_of_credential_does_not_contain_the_secret():
    assert GOOD not in repr(Credential(secret=GOOD))
    assert GOOD not in str(Credential(secret=GOOD))


def test_well_formed_key_is_looked_up(ask):
    # Proof that the tests above would have failed: a blocked query gives a 503.
    assert ask(GOOD).status_code == 503
