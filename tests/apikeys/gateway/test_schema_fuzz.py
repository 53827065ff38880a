"""Fuzz the JSON endpoints with their published schema: no 5xx, and every response matches the schema."""

from __future__ import annotations

import subprocess

import pytest

from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.servers import SCRIPTS, gatehouse

pytestmark = pytest.mark.django_db(transaction=True)

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def test_fuzzing_finds_no_5xx_and_no_schema_violation(tmp_path, alice, counters):
    key = make_key(alice)
    with gatehouse(tmp_path) as server:
        command = [SCRIPTS / "schemathesis", "run", f"http://127.0.0.1:{server.port}/authz/openapi.json"]
        command += [
            "--checks",
            CHECKS,
            "-n",
            "80",
            "--phases",
            "examples,coverage,fuzzing",
            "--no-shrink",
            "--no-color",
        ]
        # With a valid key, about half of the requests get a verdict.
        command += ["-H", f"X-API-Key: {key.secret}", "--generation-deterministic", "--warnings", "off"]
        command += ["--suppress-health-check", "all"]
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=150)
        log = (tmp_path / "gatehouse.log").read_text()
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert "could not be answered" not in log
