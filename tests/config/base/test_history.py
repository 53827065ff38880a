"""History entries record who changed what, old and new values, and from where, but no secrets."""

from __future__ import annotations

import json

import pytest

from config.base import history
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def test_an_entry_has_old_and_new_values_address_and_origin(alice, sue, rf):
    before = history.snapshot(alice)
    alice.name = "Alice Cooper"
    alice.save()
    changes = history.changes_between(before, history.snapshot(alice))
    entry = history.Author(sue, rf.get("/"), via="staff page").record(
        alice, history.CHANGE, changes=changes, note="Renamed."
    )
    (message,) = json.loads(entry.change_message)
    assert message == {
        "changed": {"fields": ["name"]},
        "values": [{"field": "name", "old": "Alice", "new": "Alice Cooper"}],
        "note": "Renamed.",
        "ip": "127.0.0.1",
        "via": "staff page",
    }
    assert entry.user == sue
    assert entry.get_edited_object() == alice


def test_django_can_read_the_message(alice, sue):
    entry = history.Author(sue).record(alice, history.CHANGE, changes=[{"field": "name", "old": "a", "new": "b"}])
    assert entry.get_change_message() == "Changed name."
    assert history.Author(sue).record(alice, history.ADDITION).get_change_message() == "Added."


def test_a_password_change_does_not_contain_the_hash(alice):
    before = history.snapshot(alice)
    alice.set_password("another horse 2")
    after = history.snapshot(alice)
    assert not any("argon2" in value for value in [*before.values(), *after.values()])


def test_foreign_keys_are_shown_by_name_and_empty_values_as_a_dash(alice, free):
    pro = Tier.objects.create(name="pro")
    before = history.snapshot(alice)
    alice.tier = pro
    assert history.changes_between(before, history.snapshot(alice)) == [{"field": "tier", "old": "free", "new": "pro"}]
    alice.tier = None
    assert history.snapshot(alice)["tier"] == "–"


def test_long_values_are_truncated(free):
    free.description = "x" * 500
    assert len(history.snapshot(free)["description"]) == history.MAX_VALUE_LENGTH


def test_unchanged_snapshots_have_no_changes(alice):
    assert history.changes_between(history.snapshot(alice), history.snapshot(alice)) == []


def test_entry_that_set_skips_entries_about_other_fields(alice, sue, bob):
    entry = history.Author(sue).record(alice, history.CHANGE, changes=[{"field": "name", "old": "A", "new": "B"}])
    history.Author(bob).record(alice, history.CHANGE, changes=[{"field": "tier", "old": "free", "new": "pro"}])
    history.Author(bob).record(alice, history.CHANGE, note="Signed out.")
    assert history.entry_that_set(alice, "name", "B") == entry
    assert history.entry_that_set(alice, "name", "C") is None
    assert history.entry_that_set(alice, "email", "B") is None
