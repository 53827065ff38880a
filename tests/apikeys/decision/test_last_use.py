"""A key's last use is written at most once a minute; old hashes are replaced on use."""

from __future__ import annotations

import re
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from apikeys.decision import upkeep
from apikeys.decision.checks import Facts
from apikeys.decision.credentials import Credential
from apikeys.decision.decide import decide_many
from apikeys.decision.lookup import find_keys
from apikeys.decision.upkeep import note_uses
from apikeys.models import APIKey
from apikeys.secrets import hash_secret, new_secret, pepper_id
from apikeys.services import rotate_key
from config.base.history import Author
from tests.apikeys.conftest import make_key


def last_use(key):
    key.refresh_from_db()
    return key.last_used_at, key.last_used_ip


def backdate(key, **ago):
    used_at = timezone.now() - timedelta(**ago)
    APIKey.objects.filter(pk=key.pk).update(last_used_at=used_at, last_used_ip="192.0.2.1")
    return used_at


def test_first_use_is_recorded_with_its_address(ask, key):
    assert last_use(key) == (None, None)
    ask(key.secret)
    used_at, address = last_use(key)
    assert timezone.now() - used_at < timedelta(seconds=10)
    assert address == "203.0.113.9"


def test_last_use_is_not_written_again_within_a_minute(ask, key):
    used_at = backdate(key, seconds=50)
    ask(key.secret)
    assert last_use(key) == (used_at, "192.0.2.1")


def test_last_use_is_updated_after_a_minute(ask, key):
    used_at = backdate(key, seconds=61)
    ask(key.secret, address="2001:db8::7")
    moved_to, address = last_use(key)
    assert moved_to > used_at
    assert address == "2001:db8::7"


def test_later_last_use_of_another_worker_is_kept(ask, key):
    backdate(key, minutes=5)
    found = find_keys([key.secret])[key.secret]
    noted = backdate(key, seconds=1)
    note_uses([(found, "203.0.113.9")])
    assert last_use(key) == (noted, "192.0.2.1")


@pytest.mark.parametrize("number", [1, 12])
def test_last_uses_of_a_batch_are_one_statement(alice, counters, monkeypatch, number):
    run, statements = upkeep.run, []
    monkeypatch.setattr(upkeep, "run", lambda sql, values: statements.append(sql) or run(sql, values))
    keys = [make_key(alice, f"key {each}") for each in range(number)]
    facts = [Facts(Credential(key.secret), "GET", "/", f"203.0.113.{each}") for each, key in enumerate(keys)]
    assert all(verdict.allowed for verdict in decide_many(facts + facts[:1]))
    assert len(statements) == 1
    assert [last_use(key)[1] for key in keys] == [f"203.0.113.{each}" for each in range(number)]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
@pytest.mark.django_db(transaction=True)
def test_locked_key_keeps_nobody_waiting(alice, counters):
    keys = [make_key(alice, name) for name in ("locked", "free")]
    facts = [Facts(Credential(key.secret), "GET", "/", "203.0.113.9") for key in keys]
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": psycopg.Cursor}) as other:
        other.execute("SELECT FROM api_keys WHERE id = %s FOR UPDATE", [keys[0].pk])
        assert all(verdict.allowed for verdict in decide_many(facts))
        assert [last_use(key)[1] for key in keys] == [None, "203.0.113.9"]
    decide_many(facts)
    assert last_use(keys[0])[1] == "203.0.113.9"


def test_unknown_address_is_recorded_as_null(verify, key):
    backdate(key, minutes=5)
    verify(key=key.secret, method="GET", path="/")
    assert last_use(key)[1] is None


def test_denied_request_does_not_count_as_use(ask, alice, counters):
    key = make_key(alice, allow=[])
    ask(key.secret)
    assert last_use(key) == (None, None)


def test_use_does_not_change_updated_at(ask, key):
    before = key.updated_at
    ask(key.secret)
    key.refresh_from_db()
    assert key.updated_at == before


class TestOldSecret:
    def test_use_of_the_old_secret_is_recorded_separately(self, ask, rotated):
        ask(rotated.secret)
        rotated.refresh_from_db()
        assert rotated.previous_last_used_at is None
        ask(rotated.old)
        rotated.refresh_from_db()
        assert timezone.now() - rotated.previous_last_used_at < timedelta(seconds=10)

    def test_use_of_the_old_secret_is_written_once_a_minute(self, ask, rotated):
        used_at = timezone.now() - timedelta(seconds=30)
        APIKey.objects.filter(pk=rotated.pk).update(previous_last_used_at=used_at, last_used_at=used_at)
        ask(rotated.old)
        rotated.refresh_from_db()
        assert rotated.previous_last_used_at == used_at

    @pytest.mark.parametrize("base", ["/admin/apikeys/apikey/{}/change/", "/account/keys/{}/"])
    def test_key_page_shows_use_before_the_rotation(self, ask, key, client, alice, sue, base):
        for _ in range(23):
            assert ask(key.secret).status_code == 200
        rotate_key(key, Author(sue), grace=timedelta(days=1))
        client.force_login(sue if "admin" in base else alice)
        html = client.get(base.format(key.pk)).content.decode()
        previous_use = re.search(r"Previous secret</dt>.*?last used\s+(.*?)\s*</dd>", html, re.DOTALL)[1]
        assert "just now" in previous_use
        assert "just now" in client.get(base.replace("change/", "").format(key.pk) + "rotate/").content.decode()

    def test_unused_secret_does_not_inherit_the_last_use_of_another(self, ask, key, sue):
        first = key.secret
        second = rotate_key(key, Author(sue), grace=timedelta(days=1))
        ask(first)
        third = rotate_key(key, Author(sue), grace=timedelta(days=1))
        key.refresh_from_db()
        assert key.last_used_at is not None
        assert key.previous_last_used_at is None
        ask(third)
        ask(second)
        key.refresh_from_db()
        assert key.previous_last_used_at >= key.secret_last_used_at

    def test_use_of_the_new_secret_keeps_the_time_of_the_old_one(self, ask, key, sue):
        ask(key.secret)
        secret = rotate_key(key, Author(sue), grace=timedelta(days=1))
        key.refresh_from_db()
        previous_use = key.previous_last_used_at
        ask(secret)
        key.refresh_from_db()
        assert previous_use == key.previous_last_used_at is not None

    def test_each_secret_is_written_once_a_minute(self, ask, rotated):
        used_at = timezone.now() - timedelta(seconds=90)
        APIKey.objects.filter(pk=rotated.pk).update(previous_last_used_at=used_at, last_used_at=used_at)
        ask(rotated.secret)
        ask(rotated.old)
        rotated.refresh_from_db()
        assert rotated.previous_last_used_at > used_at
        assert rotated.secret_last_used_at > used_at
        noted = last_use(rotated), rotated.previous_last_used_at, rotated.secret_last_used_at
        ask(rotated.old, address="203.0.113.77")
        ask(rotated.secret, address="203.0.113.77")
        assert (last_use(rotated), rotated.previous_last_used_at, rotated.secret_last_used_at) == noted

    def test_rotation_without_grace_period_clears_last_use(self, ask, key, sue):
        ask(key.secret)
        rotate_key(key, Author(sue))
        key.refresh_from_db()
        assert (key.previous_last_used_at, key.secret_last_used_at) == (None, None)


class TestPeppers:
    OLD, NEW = "old" * 14, "new" * 14

    @pytest.fixture
    def old_key(self, alice, counters, settings):
        settings.API_KEY_PEPPERS = [self.OLD]
        key = make_key(alice)
        settings.API_KEY_PEPPERS = [self.NEW, self.OLD]
        return key

    def test_old_hash_is_accepted_and_replaced(self, ask, old_key):
        assert ask(old_key.secret).status_code == 200
        old_key.refresh_from_db()
        assert old_key.secret_hash == hash_secret(old_key.secret, self.NEW)
        assert old_key.pepper_id == pepper_id(self.NEW)
        assert ask(old_key.secret).status_code == 200

    def test_old_hash_is_replaced_while_the_last_use_is_recent(self, ask, old_key):
        used_at = backdate(old_key, seconds=10)
        APIKey.objects.filter(pk=old_key.pk).update(secret_last_used_at=used_at)
        assert ask(old_key.secret).status_code == 200
        assert last_use(old_key) == (used_at, "192.0.2.1")
        assert old_key.secret_hash == hash_secret(old_key.secret, self.NEW)

    def test_old_pepper_can_be_removed_after_use(self, ask, old_key, settings):
        ask(old_key.secret)
        settings.API_KEY_PEPPERS = [self.NEW]
        assert ask(old_key.secret).status_code == 200

    def test_key_is_unknown_without_its_pepper(self, ask, old_key, settings):
        settings.API_KEY_PEPPERS = [self.NEW]
        assert ask(old_key.secret)["X-Auth-Reason"] == "unknown_key"

    def test_denied_request_does_not_rehash(self, ask, old_key):
        APIKey.objects.filter(pk=old_key.pk).update(is_active=False)
        ask(old_key.secret)
        old_key.refresh_from_db()
        assert old_key.secret_hash == hash_secret(old_key.secret, self.OLD)

    def test_secret_before_a_rotation_is_rehashed_too(self, ask, old_key):
        old, current = old_key.secret, new_secret()
        old_key.previous_hash, old_key.secret_hash = old_key.secret_hash, hash_secret(current)
        old_key.previous_expires_at = timezone.now() + timedelta(hours=1)
        old_key.save()
        assert ask(old).status_code == 200
        old_key.refresh_from_db()
        assert old_key.previous_hash == hash_secret(old, self.NEW)
        assert old_key.secret_hash == hash_secret(current, self.NEW)
        assert ask(current).status_code == 200
