"""A key's last use is written at most once a minute; old hashes are replaced on use."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from apikeys.decision.lookup import find_keys
from apikeys.decision.upkeep import note_use
from apikeys.models import APIKey
from apikeys.secrets import hash_secret, new_secret, pepper_id
from apikeys.services import rotate_key
from config.base.history import Author
from tests.apikeys.conftest import make_key


def last_use(key):
    key.refresh_from_db()
    return key.last_used_at, key.last_used_ip


def backdate(key, **ago):
    moment = timezone.now() - timedelta(**ago)
    APIKey.objects.filter(pk=key.pk).update(last_used_at=moment, last_used_ip="192.0.2.1")
    return moment


def test_the_first_use_is_noted_with_its_address(ask, key):
    assert last_use(key) == (None, None)
    ask(key.secret)
    moment, address = last_use(key)
    assert timezone.now() - moment < timedelta(seconds=10)
    assert address == "203.0.113.9"


def test_within_the_minute_nothing_is_written(ask, key):
    moment = backdate(key, seconds=50)
    ask(key.secret)
    assert last_use(key) == (moment, "192.0.2.1")


def test_after_a_minute_it_moves_forward(ask, key):
    moment = backdate(key, seconds=61)
    ask(key.secret, address="2001:db8::7")
    later, address = last_use(key)
    assert later > moment
    assert address == "2001:db8::7"


def test_a_time_noted_by_another_worker_meanwhile_stays(ask, key):
    backdate(key, minutes=5)
    found = find_keys([key.secret])[key.secret]
    noted = backdate(key, seconds=1)
    note_use(found, "203.0.113.9")
    assert last_use(key) == (noted, "192.0.2.1")


def test_an_unknown_address_is_noted_as_such(verify, key):
    backdate(key, minutes=5)
    verify(key=key.secret, method="GET", path="/")
    assert last_use(key)[1] is None


def test_a_refused_request_is_no_use(ask, alice, counters):
    key = make_key(alice, allow=[])
    ask(key.secret)
    assert last_use(key) == (None, None)


def test_nobody_changed_the_key(ask, key):
    before = key.updated_at
    ask(key.secret)
    key.refresh_from_db()
    assert key.updated_at == before


class TestOldSecret:
    def test_its_use_is_noted_on_its_own(self, ask, rotated):
        ask(rotated.secret)
        rotated.refresh_from_db()
        assert rotated.previous_last_used_at is None
        ask(rotated.old)
        rotated.refresh_from_db()
        assert timezone.now() - rotated.previous_last_used_at < timedelta(seconds=10)

    def test_it_is_noted_once_a_minute(self, ask, rotated):
        moment = timezone.now() - timedelta(seconds=30)
        APIKey.objects.filter(pk=rotated.pk).update(previous_last_used_at=moment, last_used_at=moment)
        ask(rotated.old)
        rotated.refresh_from_db()
        assert rotated.previous_last_used_at == moment

    @pytest.mark.parametrize("base", ["/admin/apikeys/apikey/{}/change/", "/account/keys/{}/"])
    def test_what_was_used_before_the_rotation_is_told_on_the_key_s_page(self, ask, key, client, alice, sue, base):
        for _ in range(23):
            assert ask(key.secret).status_code == 200
        rotate_key(key, Author(sue), grace=timedelta(days=1))
        client.force_login(sue if "admin" in base else alice)
        html = client.get(base.format(key.pk)).content.decode()
        told = re.search(r"Previous secret</dt>.*?last used\s+(.*?)\s*</dd>", html, re.DOTALL)[1]
        assert "just now" in told
        assert "just now" in client.get(base.replace("change/", "").format(key.pk) + "rotate/").content.decode()

    def test_a_secret_that_was_never_used_has_no_time_of_another(self, ask, key, sue):
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

    def test_the_time_survives_uses_of_the_new_secret(self, ask, key, sue):
        ask(key.secret)
        secret = rotate_key(key, Author(sue), grace=timedelta(days=1))
        key.refresh_from_db()
        told = key.previous_last_used_at
        ask(secret)
        key.refresh_from_db()
        assert told == key.previous_last_used_at is not None

    def test_each_secret_has_its_own_minute(self, ask, rotated):
        moment = timezone.now() - timedelta(seconds=90)
        APIKey.objects.filter(pk=rotated.pk).update(previous_last_used_at=moment, last_used_at=moment)
        ask(rotated.secret)
        ask(rotated.old)
        rotated.refresh_from_db()
        assert rotated.previous_last_used_at > moment
        assert rotated.secret_last_used_at > moment
        noted = last_use(rotated), rotated.previous_last_used_at, rotated.secret_last_used_at
        ask(rotated.old, address="203.0.113.77")
        ask(rotated.secret, address="203.0.113.77")
        assert (last_use(rotated), rotated.previous_last_used_at, rotated.secret_last_used_at) == noted

    def test_a_rotation_without_grace_starts_anew(self, ask, key, sue):
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

    def test_an_old_hash_verifies_and_is_made_anew(self, ask, old_key):
        assert ask(old_key.secret).status_code == 200
        old_key.refresh_from_db()
        assert old_key.secret_hash == hash_secret(old_key.secret, self.NEW)
        assert old_key.pepper_id == pepper_id(self.NEW)
        assert ask(old_key.secret).status_code == 200

    def test_then_the_old_pepper_can_go(self, ask, old_key, settings):
        ask(old_key.secret)
        settings.API_KEY_PEPPERS = [self.NEW]
        assert ask(old_key.secret).status_code == 200

    def test_without_its_pepper_a_key_is_unknown(self, ask, old_key, settings):
        settings.API_KEY_PEPPERS = [self.NEW]
        assert ask(old_key.secret)["X-Auth-Reason"] == "unknown_key"

    def test_a_refused_request_rehashes_nothing(self, ask, old_key):
        APIKey.objects.filter(pk=old_key.pk).update(is_active=False)
        ask(old_key.secret)
        old_key.refresh_from_db()
        assert old_key.secret_hash == hash_secret(old_key.secret, self.OLD)

    def test_the_secret_before_a_rotation_is_made_anew_too(self, ask, old_key):
        old, current = old_key.secret, new_secret()
        old_key.previous_hash, old_key.secret_hash = old_key.secret_hash, hash_secret(current)
        old_key.previous_expires_at = timezone.now() + timedelta(hours=1)
        old_key.save()
        assert ask(old).status_code == 200
        old_key.refresh_from_db()
        assert old_key.previous_hash == hash_secret(old, self.NEW)
        assert old_key.secret_hash == hash_secret(current, self.NEW)
        assert ask(current).status_code == 200
