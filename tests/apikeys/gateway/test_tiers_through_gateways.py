"""Tiers, hosts and requests without a key, through real nginx, Caddy and Envoy, and with replayed Traefik requests."""

from __future__ import annotations

import pytest

from apikeys.models import KeyUsage
from apikeys.secrets import new_secret
from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.servers import call, gatehouse, gateway_and_gatehouse
from tests.rows import make_limit
from tiers.models import Tier

pytestmark = [pytest.mark.gateway, pytest.mark.django_db(transaction=True)]

LIVE, SANDBOX = "api.example.com", "sandbox.example.com"
# Headers that claim a request to the live API.
FORGED = {"X-Original-Host": LIVE, "X-Forwarded-Host": LIVE, "Forwarded": f"host={LIVE}", "X-Host": LIVE}


@pytest.fixture
def public(free):
    """The tier of requests without a key. Limits are created before the servers start, as these read them every few seconds."""
    for host in (LIVE, SANDBOX):
        make_limit(free, "/hosted", host=host, name=f"at {host}", limit=1, period=3600)
    tier = Tier.objects.create(name="public")
    make_limit(tier, "/orders", name="public orders", limit=2, period=3600)
    return tier


@pytest.fixture(params=["nginx", "caddy", "envoy", "traefik"])
def ask(request, tmp_path, echo, counters, public):
    """ask(path, secret, host, forged headers) returns a status and its reason."""
    name = request.param
    if name == "traefik":
        with gatehouse(tmp_path, ANONYMOUS_TIER=public.name) as server:
            yield lambda *question, **headers: replay(server.port, *question, **headers)
    else:
        with gateway_and_gatehouse(name, tmp_path, echo, ANONYMOUS_TIER=public.name) as (front, _):
            yield lambda *question, **headers: ask_gateway(front.port, *question, **headers)


def ask_gateway(port, path="/orders", secret=None, host=LIVE, **forged):
    sent = {"Host": f"{host}:8443", **forged} | ({"X-API-Key": secret} if secret else {})
    answer = call(port, path=path, headers=sent)
    # Envoy itself rejects a request that names X-Forwarded-Host in Connection.
    is_ours = answer.headers["Content-Type"] == "application/problem+json"
    return answer.status, answer.json()["reason"] if is_ours else ""


def replay(port, path="/orders", secret=None, host=LIVE, **forged):
    """ForwardAuth replaces the X-Forwarded headers, and sends no header that isn't in authRequestHeaders."""
    sent = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": path, "X-Forwarded-Host": f"{host}:8443"}
    sent |= {"X-Forwarded-For": "203.0.113.9"} | ({"X-API-Key": secret} if secret else {})
    answer = call(port, path="/authz/traefik", headers=sent)
    return answer.status, answer.headers.get("X-Auth-Reason", "")


def test_tiers_and_hosts_work_through_gateways(ask, alice, bob, free, pro, public):
    # One test, because starting the servers takes seconds and requests take milliseconds.
    check_tier_change(ask, alice, free, pro)
    check_permission_host(ask, alice)
    check_limits_by_host(ask, bob, free)
    check_anonymous_tier(ask)


def check_tier_change(ask, alice, free, pro):
    secret = make_key(alice).secret
    free.access.update(resource="/orders/*")
    assert ask("/orders", secret) == (200, "")
    assert ask("/reports", secret) == (403, "tier_denied")
    alice.tier = pro
    alice.save()
    assert ask("/reports", secret) == (200, "")
    pro.access.update(host=LIVE)
    assert ask("/reports", secret, SANDBOX) == (403, "tier_denied")
    assert ask("/reports", secret, "API.Example.COM") == (200, "")
    pro.access.update(host="")


def check_permission_host(ask, alice):
    key = make_key(alice, allow=[f"* * at {LIVE}"])
    assert ask("/orders", key.secret, LIVE) == (200, "")
    assert ask("/orders", key.secret, SANDBOX) == (403, "permission_denied")
    assert ask("/orders", key.secret, SANDBOX, **FORGED) == (403, "permission_denied")
    named = {"Connection": "X-Original-Host, X-Forwarded-Host, X-Original-URI"}
    status, _ = ask("/orders", key.secret, SANDBOX, **FORGED, **named)
    assert status in {400, 403}
    hosts = set(KeyUsage.objects.filter(api_key=key).values_list("host", "status_code"))
    assert hosts == {(LIVE, 200), (SANDBOX, 403)}


def check_limits_by_host(ask, bob, free):
    free.access.update(resource="*")
    secret = make_key(bob).secret
    assert [ask("/hosted", secret, LIVE)[0] for _ in range(2)] == [200, 429]
    assert ask("/hosted", secret, LIVE, **{"X-Original-Host": SANDBOX, "X-Forwarded-Host": SANDBOX})[0] == 429
    assert [ask("/hosted", secret, SANDBOX)[0] for _ in range(2)] == [200, 429]


def check_anonymous_tier(ask):
    assert [ask() for _ in range(3)] == [(200, ""), (200, ""), (429, "rate_limited")]
    assert ask(secret=new_secret()) == (401, "unknown_key")
    assert ask(secret="nonsense") == (401, "malformed_key")
