"""SITE_URL: which values are accepted, and where emails of commands and jobs get their links from."""

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
def test_the_address_of_this_site_is_accepted(strict, url):
    assert site_problem(url) == ""


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
def test_what_makes_no_link_is_refused(strict, url, problem):
    assert site_problem(url) == problem


def test_plain_http_is_accepted_without_https_only(strict):
    strict.HTTPS_ONLY = False
    assert site_problem("http://gatehouse.test") == ""


def test_no_command_runs_with_a_wrong_address():
    result = manage("check", SITE_URL="https://gatehouse.test/?a=1")
    assert result.returncode == 1
    assert f"SITE_URL is “https://gatehouse.test/?a=1”. {TOO_MUCH}" in result.stderr


def test_a_slash_at_the_end_is_not_doubled_in_links(settings, tmp_path):
    settings.SITE_URL = read_settings(tmp_path, SITE_URL=f"{SITE}/")["SITE_URL"]
    assert site_link("/account/keys/") == f"{SITE}/account/keys/"


def test_without_it_there_are_no_links(settings):
    settings.SITE_URL = ""
    assert site_link("/account/keys/") == ""
    assert site_request() is None


@pytest.mark.parametrize("url", ["http://testserver", "https://testserver:8443"])
def test_links_of_a_command_have_its_scheme_and_port(settings, url):
    settings.SITE_URL = url
    assert site_request().build_absolute_uri("/account/") == f"{url}/account/"


@pytest.mark.parametrize(
    ("backend", "url", "warned"), [("smtp", "", True), ("smtp", SITE, False), ("console", "", False)]
)
def test_the_deployment_check_asks_for_it_when_emails_are_sent(settings, backend, url, warned):
    settings.EMAIL_BACKEND, settings.SITE_URL = f"django.core.mail.backends.{backend}.EmailBackend", url
    found = run_checks(tags=[Tags.security], include_deployment_checks=True)
    assert ("gatehouse.W022" in {message.id for message in found}) is warned
