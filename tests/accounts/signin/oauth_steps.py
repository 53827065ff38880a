"""Steps of signing in through the test identity provider."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit

import pytest
from allauth.socialaccount.providers.github.views import GitHubOAuth2Adapter
from allauth.socialaccount.providers.google.views import GoogleOAuth2Adapter

from tests.accounts.signin.oidc_provider import CLIENT_ID, CLIENT_SECRET, Person, Provider


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args, **options):
        return None


@pytest.fixture(scope="module")
def running_provider():
    with Provider() as provider:
        yield provider


@pytest.fixture
def provider(running_provider, monkeypatch, settings):
    """The test provider, set up as both Google and GitHub."""
    running_provider.person = Person()
    for adapter in (GoogleOAuth2Adapter, GitHubOAuth2Adapter):
        monkeypatch.setattr(adapter, "authorize_url", f"{running_provider.url}/authorize")
        monkeypatch.setattr(adapter, "access_token_url", f"{running_provider.url}/token")
    monkeypatch.setattr(GitHubOAuth2Adapter, "profile_url", f"{running_provider.url}/user")
    monkeypatch.setattr(GitHubOAuth2Adapter, "emails_url", f"{running_provider.url}/user/emails")
    settings.SOCIALACCOUNT_PROVIDERS = {
        name: options | {"APPS": [{"client_id": CLIENT_ID, "secret": CLIENT_SECRET}]}
        for name, options in settings.SOCIALACCOUNT_PROVIDERS.items()
    }
    return running_provider


def start_sign_in(client, name="google", process="login", **data):
    """Submit the sign-in button. Return the provider's URL that the browser goes to."""
    page = client.post(f"/accounts/{name}/login/?process={process}", data)
    assert page.status_code == 200
    return page.context["url"]


def consent(url):
    """Open the provider's URL. Return the path that it redirects the browser to."""
    try:
        urllib.request.build_opener(NoRedirect).open(url)
    except urllib.error.HTTPError as redirect:
        parts = urlsplit(redirect.headers["Location"])
        return f"{parts.path}?{parts.query}"
    raise AssertionError("the provider did not redirect")


def sign_in_through_provider(client, name="google", process="login", **data):
    return client.get(consent(start_sign_in(client, name, process, **data)))
