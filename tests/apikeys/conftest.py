"""API keys of the test users, and helpers that ask about a request."""

from __future__ import annotations

import json
from datetime import timedelta
from functools import partial

import pytest
from django.utils import timezone

from apikeys.secrets import hash_secret, new_secret
from ratelimits.limiter import forget_limiter, limiter
from ratelimits.rules import forget_rules
from tests.apikeys.gateway.servers import upstream
from tests.apikeys.importing import run_import
from tests.rows import make_key


@pytest.fixture
def counters(db):
    """Start with empty budgets and without cached rules."""
    forget_rules()
    limiter().store.clear()
    yield
    forget_limiter()


@pytest.fixture
def key(alice, counters):
    return make_key(alice)


@pytest.fixture
def owner(client, alice):
    """A browser in which Alice is signed in."""
    client.force_login(alice)
    return client


@pytest.fixture
def ask(client):
    """Ask as nginx does, by default about GET /orders."""

    def ask(secret=None, *, method="GET", uri="/orders", address="203.0.113.9", **headers):
        sent = {"X-Original-Method": method, "X-Original-URI": uri, "X-Real-IP": address, **headers}
        if secret is not None:
            sent["X-API-Key"] = secret
        return client.get("/authz/nginx", headers={k: v for k, v in sent.items() if v is not None})

    return ask


@pytest.fixture
def verify(client):
    """Ask as a service does; returns the JSON of the response."""

    def verify(**question):
        response = client.post("/authz/verify", json.dumps(question), content_type="application/json")
        assert response.status_code == 200, response.content
        return response.json()

    return verify


@pytest.fixture
def rotated(key):
    """The test's key, rotated with an hour of grace: `old` is the old secret, `secret` the new one."""
    key.old, key.secret = key.secret, new_secret()
    key.previous_hash, key.secret_hash = key.secret_hash, hash_secret(key.secret)
    key.previous_expires_at = timezone.now() + timedelta(hours=1)
    key.save()
    return key


@pytest.fixture
def import_keys(tmp_path, alice, counters):
    """Import a file; returns what the command prints, with its error if it fails."""
    return partial(run_import, tmp_path / "keys.csv")


@pytest.fixture(scope="module")
def echo():
    """An API that returns the request it got."""
    with upstream() as server:
        yield server


def ask_as(client, dialect, key, *, method="GET", target="/orders"):
    """Ask as a gateway with this dialect does. With Envoy's, the test client sends the method in upper case."""
    headers = {"X-API-Key": key.secret}
    if dialect == "envoy":
        return client.generic(method, "/authz/envoy/", headers=headers, RAW_URI=f"/authz/envoy{target}")
    name, uri = ("X-Original", "URI") if dialect == "nginx" else ("X-Forwarded", "Uri")
    return client.get(f"/authz/{dialect}", headers={**headers, f"{name}-Method": method, f"{name}-{uri}": target})
