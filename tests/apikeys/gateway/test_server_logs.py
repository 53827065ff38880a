"""gunicorn and Django don't log secrets in URLs or headers."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from config.base.logs import SafeFormatter
from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.servers import call, gatehouse
from tests.rows import make_user

SETTINGS = {
    "DEBUG": "false",
    "HTTPS_ONLY": "false",
    "ACCESS_LOG": "true",
    "GATEWAY_SECRET": "Bn4_Ht7-Ye9.Uc2~Aj6+Fl0=Dp3*Og8",
    "SECRET_KEY": "Wq3_Zr9-Ty1.Lk5~Mn7+Pb2=Xc8*Vd4" * 2,
    "API_KEY_PEPPERS": "Gh6_Jf0-Sa2.Qe4~Ru8+Io1=Kz5*Nw3" * 2,
}
GATEWAY = {"X-Gateway-Secret": SETTINGS["GATEWAY_SECRET"]}


@pytest.mark.once
@pytest.mark.django_db(transaction=True)
def test_logs_have_no_secret_and_long_credentials_are_denied(tmp_path):
    secret = make_key(make_user("alice")).secret
    with gatehouse(tmp_path, checked=True, **SETTINGS) as server:
        for path in (f"/authz/envoy/orders?key={secret}", f"/authz/envoy/{secret}", f"/authz/envoy/{secret}/%2e%2e"):
            call(server.port, path=path, headers=GATEWAY)
        for path in (f"/{secret}", f"/api/v1/whoami?api_key={secret}", f"/accounts/login/?q={secret}"):
            call(server.port, path=path, headers={"Referer": f"http://api.test/?key={secret}"})
        call(server.port, path=f"/authz/envoy/{secret}")
        call(server.port, method="BAD{LINE}", path=f"/{secret}")
        description = {"X-Original-Method": "GET", "X-Original-URI": "/orders", "X-Real-IP": "203.0.113.9"}
        long_one = call(server.port, path="/authz/nginx", headers=GATEWAY | description | {"X-API-Key": "a" * 9_000})
        long_path = call(server.port, path=f"/authz/envoy/{'a' * 7_000}", headers=GATEWAY)
    assert (long_one.status, long_one.headers["X-Auth-Reason"]) == (401, "malformed_key")
    assert (long_path.status, long_path.headers["X-Auth-Reason"]) == (401, "missing_key")
    log = Path(server.log).read_text()
    assert log.count(secret[:11]) > 6
    assert secret[12:] not in log
    assert "GET /accounts/login/" in log


def test_secret_with_any_prefix_is_masked_in_logs():
    body = "A1b2C3" + "x" * 43
    record = logging.makeLogRecord({"msg": "%s and %s", "args": (f"acme_{body}", f"acme%5f{body}")})
    assert SafeFormatter("%(message)s").format(record) == "acme_A1b2C3… and acme%5fA1b2C3…"
