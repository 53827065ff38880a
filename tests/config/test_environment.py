"""Settings come from environment variables, .env.example lists all of them, and the first run writes .env."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from types import SimpleNamespace

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from config.base.numbers import seconds, whole_number
from config.environment import Environment
from config.write_env import write_env
from tests.config.settings_file import PRODUCTION, ROOT, read_settings


def manage(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={name: value for name, value in (PRODUCTION | environment).items() if value is not None},
        capture_output=True,
        text=True,
        check=False,
    )


def test_env_example_lists_every_variable():
    source = "".join(
        (ROOT / "config" / f"{name}.py").read_text() for name in ("settings", "databases", "gunicorn", "threads")
    )
    read = set(re.findall(r"""(?:env(?:\.\w+)?|secret|environ\.get)\(\s*"([A-Z_0-9]+)\"""", source))
    read |= {f"OAUTH_{name}_CLIENT_{half}" for name in ("GOOGLE", "GITHUB") for half in ("ID", "SECRET")}
    read |= {"GATE_CONCURRENCY"}  # read by compose.yaml
    listed = set(re.findall(r"^(?:# )?([A-Z_0-9]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert read <= listed, f"missing in .env.example: {sorted(read - listed)}"
    assert listed <= read, f"not read by any setting: {sorted(listed - read)}"


def test_production_settings_pass_the_deployment_checks():
    result = manage("check", "--deploy", "--fail-level", "WARNING", TRUSTED_PROXY_HOPS="1")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("DEFAULT_RATE_LIMIT_LIMIT", "abc", "a whole number"),
        ("DEFAULT_RATE_LIMIT_PERIOD", "1.5", "a whole number"),
        ("NODES", "", "a whole number"),
        ("HTTPS_ONLY", "treu", "true or false"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error_with_its_name(name, value, kind, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must be {kind}, but is “{value}”."):
        read_settings(tmp_path, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "bounds"),
    [
        ("NODES", "0", "1 to 10,000"),
        ("RATE_LIMIT_STORE_TIMEOUT", "0", "1 to 10,000"),
        ("RATE_LIMIT_STORE_TIMEOUT", "-1", "1 to 10,000"),
        ("RATE_LIMIT_STORE_TIMEOUT", "10001", "1 to 10,000"),
        ("POSTGRES_POOL_SIZE", "-1", "0 to 1,000"),
        ("POSTGRES_PORT", "0", "1 to 65,535"),
        ("POSTGRES_PORT", "65536", "1 to 65,535"),
    ],
)
def test_numbers_out_of_range_are_rejected_with_the_bounds(name, value, bounds, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must be from {bounds}, but is {int(value):,}.$"):
        read_settings(tmp_path, **{"POSTGRES_SERVER": "db", name: value})


@pytest.mark.parametrize(("value", "level"), [("debug", "DEBUG"), (" Warning ", "WARNING"), (None, "INFO")])
def test_the_log_level_can_be_in_any_case(value, level, tmp_path):
    assert read_settings(tmp_path, LOG_LEVEL=value)["LOG_LEVEL"] == level


@pytest.mark.parametrize("value", ["loud", "", "10"])
def test_unknown_log_levels_are_rejected(value, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^LOG_LEVEL must be one of DEBUG, INFO, .*, but is “{value}”.$"):
        read_settings(tmp_path, LOG_LEVEL=value)


def test_gunicorn_does_not_start_with_a_number_out_of_range():
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "python:config.gunicorn", "--check-config", "config.asgi"],
        cwd=ROOT,
        env=PRODUCTION | {"WEB_CONCURRENCY": "0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 1
    assert "WEB_CONCURRENCY must be from 1 to 1,000, but is 0." in result.stderr


@pytest.mark.parametrize(
    ("value", "problem"), [("x", "a whole number, but is “x”"), ("1.5", "a whole number"), (0, "from 1 to 9, but is 0")]
)
def test_whole_number_rejects_invalid_values(value, problem):
    with pytest.raises(ValueError, match=f"^WEB_THREADS must be {problem}"):
        whole_number("WEB_THREADS", value, smallest=1, largest=9)


@pytest.mark.parametrize(
    ("value", "problem"),
    [("soon", "a number of seconds, but is “soon”"), ("nan", "from 0"), ("inf", "from 0"), ("-1", "from 0")],
)
def test_seconds_rejects_invalid_values(value, problem):
    with pytest.raises(ValueError, match=f"^DRAIN_SECONDS must be {problem}"):
        seconds("DRAIN_SECONDS", value, longest=60)


def test_seconds_accepts_fractions():
    assert seconds("DRAIN_SECONDS", " 0.5 ", longest=60) == 0.5


def test_commands_print_only_the_error_message():
    result = manage("check", NODES="two")
    assert (result.returncode, result.stderr) == (1, "NODES must be a whole number, but is “two”.\n")


def test_environment_rejects_invalid_values(monkeypatch):
    monkeypatch.setenv("HOW_MANY", "a few")
    with pytest.raises(ImproperlyConfigured, match="HOW_MANY must be a whole number, but is “a few”"):
        Environment().int("HOW_MANY", default=3)
    with pytest.raises(ImproperlyConfigured, match="HOW_MANY must be true or false, but is “a few”"):
        Environment().bool("HOW_MANY", default=True)


def test_environment_returns_the_default_for_missing_values(monkeypatch):
    monkeypatch.delenv("HOW_MANY", raising=False)
    assert Environment().int("HOW_MANY", default=3) == 3
    assert Environment().bool("HOW_MANY", default=True) is True


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", True),
        ("Yes", True),
        ("on", True),
        ("1", True),
        ("false", False),
        ("No", False),
        ("0", False),
        ("", False),
    ],
)
def test_environment_parses_booleans(monkeypatch, text, expected):
    monkeypatch.setenv("WHETHER", text)
    assert Environment().bool("WHETHER", default=not expected) is expected


@pytest.mark.parametrize("name", ["SECRET_KEY", "API_KEY_PEPPERS"])
def test_production_does_not_start_without_a_secret(name, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} isn't set. Set it to 50 or more random characters"):
        read_settings(tmp_path, **{name: None})


# Settings are set directly, because a process for each case would be slow.
SAFE = {
    "SECRET_KEY": PRODUCTION["SECRET_KEY"],
    "API_KEY_PEPPERS": [PRODUCTION["API_KEY_PEPPERS"]],
    "GATEWAY_SECRET": PRODUCTION["GATEWAY_SECRET"],
    "ALLOWED_HOSTS": ["gatehouse.test"],
    "DEBUG": False,
}


def findings(settings, **changes):
    for name, value in (SAFE | changes).items():
        setattr(settings, name, value)
    found = run_checks(include_deployment_checks=True)
    return [f"{message.msg} {message.hint or ''}" for message in found if message.id.startswith(("gatehouse.", "rate"))]


def test_safe_settings_have_no_findings(settings):
    assert findings(settings) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SECRET_KEY": "change-me"}, "Set SECRET_KEY to at least 50 random characters"),
        ({"SECRET_KEY": "a" * 80}, "Set SECRET_KEY to at least 50 random characters"),
        ({"API_KEY_PEPPERS": ["short"]}, "Set each pepper to at least 32 random characters"),
        ({"DEBUG": True}, "Set DEBUG=false"),
        ({"ALLOWED_HOSTS": ["*"]}, "Set ALLOWED_HOSTS to your host names"),
        ({"ALLOWED_HOSTS": ["gatehouse.test", ".com"]}, "Set ALLOWED_HOSTS to your host names"),
        ({"API_KEY_PREFIX": "Gate-1"}, "API_KEY_PREFIX must have 2 to 16 lowercase letters"),
        ({"DEFAULT_RATE_LIMIT_LIMIT": 0}, "DEFAULT_RATE_LIMIT_LIMIT must be from 1 to 2,147,483,647"),
        ({"TRUSTED_PROXY_HOPS": -1}, "TRUSTED_PROXY_HOPS must be 0 or more"),
        ({"GATEWAY_TRUSTED": ["10.0.0.0/8", "gateway"]}, "isn't an address or a network"),
        ({"METRICS_TRUSTED": ["prometheus"]}, "METRICS_TRUSTED has “prometheus”"),
        ({"API_KEY_REQUIRED": ["/api/", "v2/"]}, "API_KEY_REQUIRED has “v2/”, which protects nothing"),
        ({"API_KEY_REQUIRED": ["/api/*"]}, "API_KEY_REQUIRED has “/api/*”"),
        ({"KEEP_USAGE_DAYS": -1}, "KEEP_USAGE_DAYS must be a number from 0"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT must be text or json"),
        ({"GATEWAY_SECRET": ""}, "GATEWAY_SECRET isn't set"),
        ({"GATEWAY_SECRET": "abc"}, "Set GATEWAY_SECRET to at least 16 random characters"),
        ({"GATEWAY_SECRET": "Bn4_Ht7-Ye9.Uc2~Aj6 "}, "GATEWAY_SECRET must be printable ASCII"),
        ({"GATEWAY_SECRET": "Bn4_Ht7-Ye9.Uc2~Aj6\n7"}, "GATEWAY_SECRET must be printable ASCII"),
        ({"GATEWAY_SECRET": "Bn4_Ht7-Ye9.Uc2~Ajß7"}, "GATEWAY_SECRET must be printable ASCII"),
    ],
)
def test_unsafe_settings_are_reported_with_a_fix(settings, changes, message):
    assert [text for text in findings(settings, **changes) if message in text]


@pytest.mark.parametrize(("vendor", "refused"), [("sqlite", True), ("postgresql", False)])
def test_several_nodes_require_postgresql(settings, monkeypatch, vendor, refused):
    monkeypatch.setattr("config.checks.connection", SimpleNamespace(vendor=vendor))
    assert ("PostgreSQL database for all nodes" in str(findings(settings, NODES=2))) is refused


def test_an_error_fails_the_check_command():
    result = manage("check", "--deploy", NODES="2")
    assert result.returncode != 0
    assert "Set DATABASE_URL to a PostgreSQL database for all nodes" in result.stderr


def test_a_missing_gateway_secret_is_a_warning():
    result = manage("check", "--deploy", GATEWAY_SECRET=None)
    assert result.returncode == 0
    assert "GATEWAY_SECRET isn't set" in result.stderr


def test_a_secret_can_be_read_from_a_file(tmp_path):
    path = tmp_path / "key"
    path.write_text(PRODUCTION["SECRET_KEY"] + "\n")
    found = read_settings(tmp_path, SECRET_KEY=None, SECRET_KEY_FILE=str(path))
    assert found["SECRET_KEY"] == PRODUCTION["SECRET_KEY"]


def test_the_line_break_at_the_end_of_a_secret_file_is_removed(tmp_path):
    path = tmp_path / "gateway"
    path.write_text("s3cret of the gateway\r\n")
    found = read_settings(tmp_path, GATEWAY_SECRET=None, GATEWAY_SECRET_FILE=str(path))
    assert found["GATEWAY_SECRET"] == "s3cret of the gateway"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "django.db.backends.sqlite3 gatehouse.sqlite3"),
        ({"DATABASE_URL": "sqlite:////tmp/other.sqlite3"}, "django.db.backends.sqlite3 other.sqlite3"),
        ({"POSTGRES_SERVER": "db"}, "django.db.backends.postgresql postgres"),
        ({"POSTGRES_SERVER": "db", "POSTGRES_DB": "gh"}, "django.db.backends.postgresql gh"),
        ({"POSTGRES_SERVER": "db", "DATABASE_URL": "postgres://a:b@c/wins"}, "django.db.backends.postgresql wins"),
    ],
)
def test_the_database_is_configured_by_the_environment(environment, expected, tmp_path):
    database = read_settings(tmp_path, **environment)["DATABASES"]["default"]
    assert f"{database['ENGINE']} {database['NAME'].rpartition('/')[2]}" == expected


def test_special_characters_in_postgres_variables_are_kept(tmp_path):
    variables = {"POSTGRES_SERVER": "db", "POSTGRES_USER": "a@b", "POSTGRES_PASSWORD": "p/w:%#"}
    database = read_settings(tmp_path, **variables)["DATABASES"]["default"]
    assert (database["USER"], database["PASSWORD"], database["PORT"]) == ("a@b", "p/w:%#", 5432)


def test_a_connection_pool_replaces_persistent_connections(tmp_path):
    database = read_settings(tmp_path, POSTGRES_SERVER="db", POSTGRES_POOL_SIZE="7")["DATABASES"]["default"]
    assert database["CONN_MAX_AGE"] == 0
    assert database["OPTIONS"]["pool"]["max_size"] == 7


def test_gunicorn_refuses_to_start_with_debug_on():
    result = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "python:config.gunicorn", "config.asgi"],
        cwd=ROOT,
        env=PRODUCTION | {"DEBUG": "true", "BIND": "127.0.0.1:0"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 3
    assert "Gatehouse can't start with these settings" in result.stderr
    assert "Set DEBUG=false" in result.stderr


def test_the_first_run_writes_a_private_env_file(tmp_path):
    path = tmp_path / ".env"
    assert write_env(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = dict(line.split("=", 1) for line in path.read_text().splitlines() if line and line[0] != "#")
    assert len(written["SECRET_KEY"]) > 50
    assert written["SECRET_KEY"] != written["API_KEY_PEPPERS"]


def test_a_second_run_keeps_the_env_file(tmp_path):
    path = tmp_path / ".env"
    path.write_text("SECRET_KEY=mine\n")
    assert not write_env(path)
    assert path.read_text() == "SECRET_KEY=mine\n"
