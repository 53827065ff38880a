"""Steps of a sign-in through the provider on loopback."""

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
    """The provider, configured as both Google and GitHub."""
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


def leave(client, name="google", process="login", **data):
    """Press the button; returns the provider's URL, to which the browser goes next."""
    page = client.post(f"/accounts/{name}/login/?process={process}", data)
    assert page.status_code == 200
    return page.context["url"]


def consent(url):
    """What the provider does with it; returns the way back, without our host."""
    try:
        urllib.request.build_opener(NoRedirect).open(url)
    except urllib.error.HTTPError as redirect:
        parts = urlsplit(redirect.headers["Location"])
        return f"{parts.path}?{parts.query}"
    raise AssertionError("the provider did not redirect")


def come_back(client, name="google", process="login", **data):
    return client.get(consent(leave(client, name, process, **data)))
