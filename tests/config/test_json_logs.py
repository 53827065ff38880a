"""LOG_FORMAT=json: one object per line, with the request id and without secrets."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from config.base.logs import JSONFormatter
from tests.apikeys.gateway.servers import call, gatehouse
from tests.apikeys.gateway.test_server_logs import SETTINGS
from tests.config.test_forged_log_lines import CONTROL_CHARACTERS, LINE_ENDS

SECRET = f"gate_A1b2C3{'x' * 43}"


def log_line(message, *arguments, **fields):
    return JSONFormatter().format(
        logging.makeLogRecord({"msg": message, "args": arguments, "levelname": "INFO", **fields})
    )


def test_a_line_has_time_level_logger_request_id_and_message():
    entry = json.loads(log_line("Asked for %s", "/é", name="apikeys", request_id="abc", created=0.5))
    assert entry == {
        "time": "1970-01-01T00:00:00.500+00:00",
        "level": "INFO",
        "logger": "apikeys",
        "request_id": "abc",
        "message": "Asked for /é",
    }


@pytest.mark.parametrize("text", [*LINE_ENDS, *CONTROL_CHARACTERS], ids=ascii)
def test_a_request_cannot_forge_a_line(text):
    line = log_line("Asked for %s", f'/a{text}","level":"CRITICAL')
    assert line.splitlines() == [line]
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == f'Asked for /a{text}","level":"CRITICAL'


def test_errors_and_stacks_are_included_without_secrets():
    try:
        int(SECRET)
    except ValueError as error:
        line = log_line(
            "Key %s", SECRET, exc_info=(ValueError, error, error.__traceback__), stack_info=f"Stack {SECRET}"
        )
    assert "\n" not in line
    assert SECRET[12:] not in line
    entry = json.loads(line)
    assert entry["message"] == "Key gate_A1b2C3…"
    assert entry["exception"].endswith("with base 10: 'gate_A1b2C3…'")
    assert entry["stack"] == "Stack gate_A1b2C3…"


@pytest.mark.once
@pytest.mark.django_db(transaction=True)
def test_every_line_of_a_server_is_json_with_the_request_id(tmp_path):
    with gatehouse(tmp_path, **SETTINGS | {"LOG_FORMAT": "json", "DEBUG": "true"}) as server:
        response = call(server.port, path=f"/nowhere/?key={SECRET}")
        call(server.port, method="BAD{LINE}", path="/")
    entries = [json.loads(line) for line in Path(server.log).read_text().splitlines()]
    assert {"gunicorn.error", "gunicorn.access", "django.request"} <= {entry["logger"] for entry in entries}
    not_found = next(entry for entry in entries if "Not Found" in entry["message"])
    assert not_found["request_id"] == response.headers["X-Request-Id"]
    assert SECRET[12:] not in Path(server.log).read_text()
