"""The audit of dependencies only fails on a known vulnerability."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AUDIT = runpy.run_path(str(ROOT / ".ci" / "audit"))
FLAW = {"id": "CVE-2026-1", "fix_versions": ["1.2"], "aliases": [], "description": ""}
SAFE = {"name": "django", "version": "5.2", "vulns": []}
UNSAFE = {"name": "pillow", "version": "1.1", "vulns": [FLAW]}
UNKNOWN = {"name": "uvloop", "version": "1", "skip_reason": "Dependency not found on PyPI"}


def command_printing(text, status=0):
    return [sys.executable, "-c", f"import sys; print({text!r}); sys.stderr.write('no route'); sys.exit({status})"]


@pytest.mark.parametrize(
    ("packages", "status", "expected"),
    [
        ([SAFE], 0, "Audited 1 packages: 0 known vulnerabilities."),
        ([SAFE, UNSAFE], 1, "pillow 1.1: CVE-2026-1, fixed in 1.2"),
        ([UNSAFE | {"vulns": [FLAW | {"fix_versions": []}]}], 1, "fixed in no version yet"),
        ([SAFE, UNKNOWN], 0, "NOT AUDITED: 1 that the service doesn't know."),
    ],
)
def test_a_known_vulnerability_fails(capsys, packages, status, expected):
    assert AUDIT["audit"](command_printing(json.dumps({"dependencies": packages, "fixes": []}), status)) == status
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "{}", "not json"])
def test_an_unavailable_service_is_reported_and_does_not_fail(capsys, text):
    assert AUDIT["audit"](command_printing(text, 1)) == 0
    assert capsys.readouterr().out == "NOT AUDITED: no answer from the advisory service.\nno route\n"


def test_the_sbom_lists_every_pinned_package(tmp_path):
    AUDIT["write_sbom"](tmp_path / "new" / "sbom.json")
    sbom = json.loads((tmp_path / "new" / "sbom.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    listed = {(component["name"], component["version"]) for component in sbom["components"]}
    pinned = set(
        re.findall(r"^([a-z0-9.-]+)(?:\[[^]]*\])?==([^\s;]+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    )
    assert len(pinned) > 20
    assert listed == pinned
