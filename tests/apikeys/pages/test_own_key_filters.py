"""Owners search and filter their own keys; keys in use are shown unless another state is chosen."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys.models import APIKey
from tests.rows import make_key

pytestmark = pytest.mark.django_db

STATES = {
    "active": {},
    "disabled": {"is_active": False},
    "expired": {"expires_at": timezone.now() - timedelta(days=1)},
    "revoked": {"revoked_at": timezone.now()},
}


@pytest.fixture
def page(client, alice, bob):
    for name, values in STATES.items():
        APIKey.objects.filter(pk=make_key(alice, name).pk).update(**values)
    make_key(bob, "of somebody else")
    client.force_login(alice)
    return lambda **query: client.get("/account/keys/", query)


def names(page):
    return {row.key.name for row in page.context["rows"]}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("", {"active", "disabled"}),
        ("in_use", {"active", "disabled"}),
        ("active", {"active"}),
        ("disabled", {"disabled"}),
        ("ended", {"expired", "revoked"}),
        ("all", set(STATES)),
    ],
)
def test_a_state_is_chosen(page, state, expected):
    answer = page(show=state)
    assert names(answer) == expected
    assert f"{len(expected)} API key" in answer.content.decode()


def test_search_covers_names_and_secrets(page):
    assert names(page(q="ACT")) == {"active"}
    key = APIKey.objects.get(name="disabled")
    assert names(page(q=key.last4)) == {"disabled"}
    assert names(page(q="revoked")) == set()
    assert "Revoked and expired keys are hidden." in page(q="revoked").content.decode()
    assert names(page(q="revoked", show="all")) == {"revoked"}


def test_spaces_are_no_search(page):
    answer = page(q="  ")
    assert names(answer) == {"active", "disabled"}
    assert not answer.context["filter"].bar.chips


def test_a_long_search_is_cut_in_its_chip(page):
    assert f"Search: <strong>{'x' * 59}…</strong>" in page(q="x" * 100).content.decode()


def test_everything_is_offered_if_nothing_is_found(page):
    APIKey.objects.filter(name__in=["active", "disabled"]).delete()
    answer = page()
    assert 'href="?show=all">Show all' in answer.content.decode()
    assert "Revoked and expired keys are hidden." in answer.content.decode()
    assert "are hidden" not in page(show="active").content.decode()


def test_the_file_has_what_the_list_shows(page):
    rows = page(format="csv", show="ended", q="exp").getvalue().decode().splitlines()
    assert len(rows) == 2
    assert "expired" in rows[1]


def test_the_first_key_is_offered_to_those_without_any(client, bob):
    client.force_login(bob)
    assert "Create your first key" in client.get("/account/keys/").content.decode()
