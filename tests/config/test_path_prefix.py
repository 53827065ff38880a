"""Gatehouse doesn't start with a path prefix, and ignores one in headers."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.config.settings_file import PRODUCTION, ROOT, read_settings
from tests.config.test_environment import manage

ERROR = "is set, but Gatehouse can't be served under a path. Remove"


@pytest.mark.parametrize("prefix", ["/gatehouse", "gatehouse", "/gatehouse/", "/"])
@pytest.mark.parametrize("name", ["SCRIPT_NAME", "FORCE_SCRIPT_NAME"])
def test_a_prefix_is_rejected(name, prefix, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} {ERROR} {name} and use a separate host name"):
        read_settings(tmp_path, **{name: prefix})


def test_a_prefix_in_an_env_file_is_rejected(tmp_path):
    path = tmp_path / "env"
    path.write_text("SCRIPT_NAME=/gatehouse\n")
    with pytest.raises(ImproperlyConfigured, match=ERROR):
        read_settings(tmp_path, ENV_FILE=str(path))


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "FORCE_SCRIPT_NAME"])
def test_an_empty_prefix_is_accepted(name, tmp_path):
    assert read_settings(tmp_path, **{name: ""})["STATIC_URL"] == "/static/"


def test_commands_print_only_the_error_message():
    result = manage("check", SCRIPT_NAME="/gatehouse")
    assert result.returncode == 1
    assert result.stderr == (
        "SCRIPT_NAME is set, but Gatehouse can't be served under a path. Remove SCRIPT_NAME and use a separate host name "
        "for Gatehouse, for example gatehouse.example.com.\n"
    )


@pytest.mark.parametrize("arguments", [[], ["--env", "SCRIPT_NAME=/gatehouse"]])
def test_gunicorn_does_not_start_with_a_prefix(arguments, tmp_path):
    environment = {} if arguments else {"SCRIPT_NAME": "/gatehouse"}
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "python:config.gunicorn", *arguments, "config.asgi"],
        cwd=ROOT,
        env=PRODUCTION | environment | {"BIND": "127.0.0.1:0", "VAR_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 3
    assert f"SCRIPT_NAME {ERROR}" in result.stderr


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["Script-Name", "X-Script-Name", "X-Forwarded-Prefix", "X-Forwarded-Path", "Prefix"])
def test_headers_with_a_prefix_are_ignored(client, name):
    plain = client.get("/accounts/login/")
    prefixed = client.get("/accounts/login/", headers={name: "/below"})
    assert prefixed.status_code == 200
    assert b"/below" not in prefixed.content
    assert prefixed.request["PATH_INFO"] == plain.request["PATH_INFO"] == "/accounts/login/"
    assert client.get("/admin/", headers={name: "/below"})["Location"] == "/admin/login/?next=/admin/"
