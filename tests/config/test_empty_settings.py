"""Gatehouse doesn't start if a setting that protects something is set but empty, or if half of a pair is missing."""

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
    "DEFAULT_TIER_NAME",  # a user without a tier is not restricted by one
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
def test_an_empty_value_is_refused(name, value, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} is set but empty. Set a value, or remove it.$"):
        read_settings(tmp_path, **{name: value})


@pytest.mark.parametrize("name", TEXTS)
def test_an_empty_value_is_refused_with_debug_too(name, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} is set but empty"):
        read_settings(tmp_path, DEBUG="true", **{name: ""})


@pytest.mark.parametrize("value", ["a,,b", ",", "a,", ",a", "a, ,b"])
@pytest.mark.parametrize("name", LISTS)
def test_an_empty_entry_is_refused(name, value, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} has an empty entry. Set a value, or remove it.$"):
        read_settings(tmp_path, **{name: value})


def test_an_empty_password_of_postgresql_is_refused(tmp_path):
    with pytest.raises(ImproperlyConfigured, match=r"^POSTGRES_PASSWORD is set but empty"):
        read_settings(tmp_path, POSTGRES_SERVER="db", POSTGRES_PASSWORD="")


@pytest.mark.parametrize("name", ["TRUSTED_PROXY_HOPS", "NODES"])
def test_an_empty_number_is_refused(name, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^{name} must be a whole number, but is “”.$"):
        read_settings(tmp_path, **{name: ""})


@pytest.mark.parametrize("content", [b"", b"\n", b"  \r\n", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("name", [*TEXTS, "API_KEY_PEPPERS"])
def test_an_empty_file_is_refused(name, content, tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ImproperlyConfigured, match=f"^{name} is set but empty"):
        read_settings(tmp_path, **{name: None, f"{name}_FILE": str(path)})


@pytest.mark.parametrize("place", ["missing", ".", ""])
@pytest.mark.parametrize("name", [*TEXTS, "API_KEY_PEPPERS", "GATEWAY_TRUSTED"])
def test_a_file_that_cannot_be_read_is_refused(name, place, tmp_path):
    path = str(tmp_path / place) if place else ""
    with pytest.raises(ImproperlyConfigured, match=f"^{name}_FILE is “.*”, which can't be read: ") as caught:
        read_settings(tmp_path, **{name: None, f"{name}_FILE": path})
    assert "Set it to the path of a text file, or remove it." in str(caught.value)


def test_a_file_that_is_no_text_is_refused_without_showing_it(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"\xff\xfe secret")
    with pytest.raises(ImproperlyConfigured, match="which can't be read: It isn't UTF-8 text") as caught:
        read_settings(tmp_path, GATEWAY_SECRET=None, GATEWAY_SECRET_FILE=str(path))
    assert "xff" not in str(caught.value)


@pytest.mark.parametrize("name", ["GOOGLE", "GITHUB"])
@pytest.mark.parametrize("half", ["ID", "SECRET"])
def test_half_of_a_sign_in_provider_is_refused(name, half, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=f"^Set both OAUTH_{name}_CLIENT_ID and OAUTH_{name}_CLIENT_SECRET"):
        read_settings(tmp_path, **{f"OAUTH_{name}_CLIENT_{half}": "x"})


def test_what_is_not_set_is_off(tmp_path):
    settings = read_settings(tmp_path, GATEWAY_SECRET=None)
    assert (settings["GATEWAY_SECRET"], settings["ADMIN_PASSWORD"], settings["SECRET_KEY_FALLBACKS"]) == ("", "", [])
    assert settings["SOCIALACCOUNT_PROVIDERS"]["github"]["APPS"] == []


def test_an_empty_secret_stops_every_command_with_a_sentence():
    result = manage("check", GATEWAY_SECRET="")
    assert result.returncode != 0
    assert "GATEWAY_SECRET is set but empty. Set a value, or remove it." in result.stderr


def test_a_secret_that_looks_like_a_reference_protects_the_gateway_endpoints(tmp_path):
    settings = read_settings(tmp_path, GATEWAY_SECRET="$ecret-0123456789abcdef")
    assert settings["GATEWAY_SECRET"] == "$ecret-0123456789abcdef"


def test_the_example_starts_once_its_two_secrets_are_filled_in(tmp_path):
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


def test_compose_passes_no_empty_value_to_a_setting_that_refuses_one():
    passed = re.findall(r"^ {4}([A-Z_0-9]+): \$\{\w+:-\}$", (ROOT / "compose.yaml").read_text(), re.MULTILINE)
    assert set(passed) & {*TEXTS, *LISTS, *SWITCHES, "POSTGRES_PASSWORD"} == set()
