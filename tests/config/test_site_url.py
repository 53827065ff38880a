"""SITE_URL: accepted values, and links in emails of commands and jobs."""

from __future__ import annotations

import pytest
from django.core.checks import Tags, run_checks

from config.base.site import site_link, site_problem, site_request
from tests.config.settings_file import read_settings
from tests.config.test_environment import manage

SITE = "https://gatehouse.test"
NO_URL = "Use a URL such as https://gatehouse.example.com."
TOO_MUCH = "Use only scheme, host and port, such as https://gatehouse.example.com."


@pytest.fixture
def strict(settings):
    settings.HTTPS_ONLY, settings.ALLOWED_HOSTS = True, ["gatehouse.test", "[::1]"]
    return settings


@pytest.mark.parametrize(
    "url", ["", SITE, "https://gatehouse.test:8443", "https://GATEHOUSE.test", "https://[::1]:8443"]
)
def test_valid_urls_are_accepted(strict, url):
    assert site_problem(url) == ""


def test_a_url_that_cannot_work_is_an_error(strict):
    strict.SITE_URL = "ftp://gatehouse.test"
    assert "gatehouse.E009" in {message.id for message in run_checks()}
    strict.SITE_URL = SITE
    assert "gatehouse.E009" not in {message.id for message in run_checks()}


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("gatehouse.test", NO_URL),
        ("//gatehouse.test", NO_URL),
        ("ftp://gatehouse.test", NO_URL),
        ("javascript:alert(1)", NO_URL),
        ("https://", NO_URL),
        ("https://:8443", NO_URL),
        ("https://gatehouse.test:port", NO_URL),
        ("https://gatehouse.test:99999", NO_URL),
        ("https://[::1", NO_URL),
        ("https://gatehouse.test /", NO_URL),
        ("https://gatehouse.test\n.evil.example", NO_URL),
        ("https://user:password@gatehouse.test", TOO_MUCH),
        ("https://gatehouse.test?next=1", TOO_MUCH),
        ("https://gatehouse.test?", TOO_MUCH),
        ("https://gatehouse.test#top", TOO_MUCH),
        ("https://gatehouse.test/gatehouse", TOO_MUCH),
        ("http://gatehouse.test", "Start it with https://, or set HTTPS_ONLY=false."),
        ("https://other.test", "Its host isn't in ALLOWED_HOSTS, so its links wouldn't work."),
    ],
)
def test_invalid_urls_are_rejected(strict, url, problem):
    assert site_problem(url) == problem


def test_plain_http_is_accepted_without_https_only(strict):
    strict.HTTPS_ONLY = False
    assert site_problem("http://gatehouse.test") == ""


def test_commands_fail_with_an_invalid_url():
    result = manage("check", SITE_URL="https://gatehouse.test/?a=1")
    assert result.returncode == 1
    assert f"SITE_URL is “https://gatehouse.test/?a=1”. {TOO_MUCH}" in result.stderr


def test_a_trailing_slash_is_removed(settings, tmp_path):
    settings.SITE_URL = read_settings(tmp_path, SITE_URL=f"{SITE}/")["SITE_URL"]
    assert site_link("/account/keys/") == f"{SITE}/account/keys/"


def test_there_are_no_links_without_it(settings):
    settings.SITE_URL = ""
    assert site_link("/account/keys/") == ""
    assert site_request() is None


@pytest.mark.parametrize("url", ["http://testserver", "https://testserver:8443"])
def test_links_in_emails_of_commands_have_its_scheme_and_port(settings, url):
    settings.SITE_URL = url
    assert site_request().build_absolute_uri("/account/") == f"{url}/account/"


@pytest.mark.parametrize(
    ("backend", "url", "warned"), [("smtp", "", True), ("smtp", SITE, False), ("console", "", False)]
)
def test_the_deployment_check_warns_if_emails_are_sent_without_it(settings, backend, url, warned):
    settings.EMAIL_BACKEND, settings.SITE_URL = f"django.core.mail.backends.{backend}.EmailBackend", url
    found = run_checks(tags=[Tags.security], include_deployment_checks=True)
    assert ("gatehouse.W022" in {message.id for message in found}) is warned
