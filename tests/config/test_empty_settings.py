"""Gatehouse doesn't start if a security setting is set but empty, or if half of a pair is missing."""

from __future__ import annotations

import re
import shutil

import pytest
from django.core.exceptions import ImproperlyConfigured

from tests.config.settings_file import ROOT, read_settings
from tests.config.test_environment import manage

TEXTS = [
    "SECRET_KEY",
    "GATEWAY_SECRET",
    "ADMIN_PASSWORD",
    "OAUTH_GOOGLE_CLIENT_SECRET",
    "OAUTH_GITHUB_CLIENT_SECRET",
    "DEFAULT_TIER_NAME",  # users without a tier would be unrestricted
]
LISTS = [
    "API_KEY_PEPPERS",
    "SECRET_KEY_FALLBACKS",
    "ALLOWED_HOSTS",
    "GATEWAY_TRUSTED",
    "METRICS_TRUSTED",
    "API_KEY_REQUIRED",
]
SWITCHES = ["HTTPS_ONLY", "STAFF_MFA_REQUIRED", "RATE_LIMITER_ENABLED"]


@pytest.mark.parametrize("value", ["", " ", "\t", "\u00a0", "\n"])
@pytest.mark.parametrize("name", [*TEXTS, *LISTS, *SWITCHES])
def test_an_empty_value_is_rejected(name, value, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} is set but empty. Set a value, or remove it.$"):
        read_settings(tmp_path, **{name: value})


@pytest.mark.parametrize("name", TEXTS)
def test_an_empty_value_is_rejected_with_debug(name, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} is set but empty"):
        read_settings(tmp_path, DEBUG="true", **{name: ""})


@pytest.mark.parametrize("value", ["a,,b", ",", "a,", ",a", "a, ,b"])
@pytest.mark.parametrize("name", LISTS)
def test_an_empty_entry_is_rejected(name, value, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} has an empty entry. Set a value, or remove it.$"):
        read_settings(tmp_path, **{name: value})


def test_an_empty_postgresql_password_is_rejected(tmp_path):
    with pytest.raises(ImproperlyConfigured, match=r"^POSTGRES_PASSWORD is set but empty"):
        read_settings(tmp_path, POSTGRES_SERVER="db", POSTGRES_PASSWORD="")


@pytest.mark.parametrize("name", ["TRUSTED_PROXY_HOPS", "NODES"])
def test_an_empty_number_is_rejected(name, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must be a whole number, but is “”.$"):
        read_settings(tmp_path, **{name: ""})


@pytest.mark.parametrize("content", [b"", b"\n", b"  \r\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", [*TEXTS, "API_KEY_PEPPERS"])
def test_an_empty_file_is_rejected(name, content, tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match=f"^{name} is set but empty"):
        read_settings(tmp_path, **{name: None, f"{name}_FILE": str(path)})


@pytest.mark.parametrize("place", ["missing", ".", ""])
@pytest.mark.parametrize("name", [*TEXTS, "API_KEY_PEPPERS", "GATEWAY_TRUSTED"])
def test_an_unreadable_file_is_rejected(name, place, tmp_path):
    path = str(tmp_path / place) if place else ""
    with pytest.raises(ImproperlyConfigured, match=f"^{name}_FILE is “.*”, which can't be read: ") as caught:
        read_settings(tmp_path, **{name: None, f"{name}_FILE": path})
    assert "Set it to the path of a text file, or remove it." in str(caught.value)


def test_a_binary_file_is_rejected_without_showing_its_content(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"\xff\xfe secret")
    with pytest.raises(ImproperlyConfigured, match="which can't be read: It isn't UTF-8 text") as caught:
        read_settings(tmp_path, GATEWAY_SECRET=None, GATEWAY_SECRET_FILE=str(path))
    assert "xff" not in str(caught.value)


@pytest.mark.parametrize("name", ["GOOGLE", "GITHUB"])
@pytest.mark.parametrize("half", ["ID", "SECRET"])
def test_half_of_a_provider_is_rejected(name, half, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^Set both OAUTH_{name}_CLIENT_ID and OAUTH_{name}_CLIENT_SECRET"):
        read_settings(tmp_path, **{f"OAUTH_{name}_CLIENT_{half}": "x"})


def test_settings_that_are_not_set_are_off(tmp_path):
    settings = read_settings(tmp_path, GATEWAY_SECRET=None)
    assert (settings["GATEWAY_SECRET"], settings["ADMIN_PASSWORD"], settings["SECRET_KEY_FALLBACKS"]) == ("", "", [])
    assert settings["SOCIALACCOUNT_PROVIDERS"]["github"]["APPS"] == []


def test_an_empty_secret_stops_commands_with_an_error_message():
    result = manage("check", GATEWAY_SECRET="")
    assert result.returncode != 0
    assert "GATEWAY_SECRET is set but empty. Set a value, or remove it." in result.stderr


def test_a_secret_with_a_dollar_sign_is_literal(tmp_path):
    settings = read_settings(tmp_path, GATEWAY_SECRET="$ecret-0123456789abcdef")
    assert settings["GATEWAY_SECRET"] == "$ecret-0123456789abcdef"


def test_the_example_env_file_works_with_its_two_secrets_filled_in(tmp_path):
    text = (ROOT / ".env.example").read_text()
    path = tmp_path / "env"
    shutil.copy(ROOT / ".env.example", path)
    with pytest.raises(ImproperlyConfigured, match=r"^SECRET_KEY is set but empty"):
        read_settings(tmp_path, ENV_FILE=str(path), SECRET_KEY=None, API_KEY_PEPPERS=None, GATEWAY_SECRET=None)
    for name in ("SECRET_KEY", "API_KEY_PEPPERS"):
        text = text.replace(f"\n{name}=\n", f"\n{name}={'x1' * 30}\n")
    path.write_text(text)
    settings = read_settings(
        tmp_path, ENV_FILE=str(path), SECRET_KEY=None, API_KEY_PEPPERS=None, GATEWAY_SECRET=None, ALLOWED_HOSTS=None
    )
    assert settings["SECRET_KEY"] == "x1" * 30
    assert settings["ALLOWED_HOSTS"] == ["localhost", "127.0.0.1", "[::1]"]


def test_compose_passes_no_empty_value_to_these_settings():
    passed = re.findall(r"^ {4}([A-Z_0-9]+): \$\{\w+:-\}$", (ROOT / "compose.yaml").read_text(), re.MULTILINE)
    assert set(passed) & {*TEXTS, *LISTS, *SWITCHES, "POSTGRES_PASSWORD"} == set()
