"""Requests can't forge log lines."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from config.base.logs import SafeFormatter
from tests.apikeys.gateway.servers import call, gatehouse
from tests.apikeys.gateway.test_server_logs import SETTINGS

FORGED = "2026-11-27 03:00:00,000 CRITICAL [-] root: forged"
LINE_ENDS = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
CONTROL_CHARACTERS = ["\x1b[2K\x1b[1A", "\x08" * 40, "\x7f", "\x9b2K", "\u202e", "\u2066", "\u200f", "\x00"]


@pytest.fixture
def log_lines():
    """The lines written by our log format."""
    lines = []
    handler = logging.Handler()
    handler.setFormatter(SafeFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.emit = lambda record: lines.append(handler.format(record))
    loggers = [logging.getLogger(), logging.getLogger("django")]
    for logger in loggers:
        logger.addHandler(handler)
    yield lines
    for logger in loggers:
        logger.removeHandler(handler)


def forged_lines(lines):
    return [line for text in lines for line in text.splitlines() if line.startswith("2026-11-27 03:00")]


@pytest.mark.parametrize("text", [*LINE_ENDS, *CONTROL_CHARACTERS], ids=ascii)
def test_a_message_stays_one_line(text):
    record = logging.makeLogRecord({"msg": "Asked for %s", "args": (f"/a{text}{FORGED}",)})
    line = SafeFormatter("%(message)s").format(record)
    assert line.splitlines() == [line]
    assert text not in line
    assert line.startswith("Asked for /a\\")


def test_letters_of_every_script_are_kept():
    record = logging.makeLogRecord({"msg": "Zoë\tЖ 漢 👩‍👧"})
    assert SafeFormatter("%(message)s").format(record) == "Zoë\tЖ 漢 👩‍👧"


@pytest.mark.parametrize("end", LINE_ENDS, ids=ascii)
def test_lines_of_a_traceback_are_indented(end):
    try:
        int(f"bad value{end}{FORGED}")
    except ValueError as error:
        fields = {
            "msg": "Broken",
            "exc_info": (ValueError, error, error.__traceback__),
            "stack_info": f"Stack{end}{FORGED}",
        }
    text = SafeFormatter("%(message)s").format(logging.makeLogRecord(fields))
    assert text.splitlines()[0] == "Broken"
    assert all(line.startswith("    ") for line in text.splitlines()[1:])
    assert 'int(f"bad value' in text
    assert text.count("\n") > 4


@pytest.mark.parametrize(
    "url",
    [
        "/admin/tiers/tier/?_to_field=%0a{}",
        "/admin/autocomplete/?app_label=%0a{}&model_name=tier&field_name=x",
        "/admin/autocomplete/?app_label=tiers&model_name=%0a{}&field_name=x",
        "/admin/autocomplete/?app_label=accounts&model_name=user&field_name=%0a{}",
        "/admin/tiers/tier/?name__regex=%0a{}",
        "/admin/tiers/tier/?%0a{}=1",
        "/nowhere/%0a{}",
        "/users/%0d%0a{}/",
        "/authz/envoy/x%0A{}",
    ],
)
def test_urls_cannot_forge_a_line(staff_client, log_lines, settings, url):
    settings.GATEWAY_TRUSTED = ["192.0.2.1"]
    response = staff_client.get(url.format(FORGED.replace(" ", "%20")))
    assert response.status_code < 500
    assert forged_lines(log_lines) == []


@pytest.mark.parametrize("header", ["Host", "User-Agent", "Referer", "X-Request-Id", "X-Forwarded-For", "Accept"])
def test_headers_cannot_forge_a_line(client, db, log_lines, header):
    client.get("/nowhere/", headers={header: f"a\n{FORGED}"})
    assert forged_lines(log_lines) == []


def test_usernames_cannot_forge_a_line(client, db, log_lines):
    client.post("/accounts/login/", {"login": f"a\n{FORGED}", "password": f"b\n{FORGED}"})
    assert forged_lines(log_lines) == []


@pytest.mark.once
@pytest.mark.django_db(transaction=True)
def test_server_logs_have_no_forged_lines(tmp_path):
    with gatehouse(tmp_path, checked=True, **SETTINGS) as server:
        for path in ("/nowhere/%0a", "/authz/envoy/x%0A", "/accounts/login/?next=%0a"):
            call(server.port, path=path + FORGED.replace(" ", "%20"))
        call(server.port, path="/", headers={"Referer": "a\x85" + FORGED, "User-Agent": "b\x0b" + FORGED})
    log = Path(server.log).read_bytes().decode()
    assert "forged" in log
    assert forged_lines([log]) == []
