"""Secrets are random, recognized by their format, and only stored as a hash."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apikeys.models import APIKey
from apikeys.secrets import (
    ALPHABET,
    base62,
    candidate_hashes,
    checksum,
    display_prefix,
    hash_secret,
    is_well_formed,
    last4,
    new_secret,
    pepper_id,
)

POSITIONS = st.integers(min_value=0, max_value=53)


@given(st.integers(min_value=0, max_value=2**256 - 1))
def test_base62_round_trips(number):
    text = base62(number, 43)
    assert len(text) == 43
    value = 0
    for letter in text:
        value = value * 62 + ALPHABET.index(letter)
    assert value == number


@given(st.text(max_size=80))
def test_checksum_is_the_crc32_of_the_text(text):
    text = text.encode("utf-8", "replace").decode()
    value = 0
    for letter in checksum(text):
        value = value * 62 + ALPHABET.index(letter)
    assert value == zlib.crc32(text.encode())


def test_new_secret_has_the_documented_format():
    secret = new_secret()
    assert secret.startswith("gate_")
    assert len(secret) == 5 + 43 + 6
    assert secret[-6:] == checksum(secret[:-6])
    assert is_well_formed(secret)


def test_secrets_are_unique():
    assert len({new_secret() for _ in range(500)}) == 500


@given(POSITIONS, st.characters())
def test_wrong_character_fails_the_checksum(position, letter):
    secret = new_secret()
    changed = secret[:position] + letter + secret[position + 1 :]
    assert is_well_formed(changed) is (changed == secret)


@given(st.text(max_size=120))
def test_arbitrary_text_is_not_a_secret(text):
    assert not is_well_formed(text)


@given(POSITIONS, POSITIONS)
def test_swapped_characters_fail_the_checksum(one, other):
    letters = list(new_secret())
    swapped = letters.copy()
    swapped[one], swapped[other] = swapped[other], swapped[one]
    assert is_well_formed("".join(swapped)) is (swapped == letters)


def test_a_secret_with_another_prefix_is_not_well_formed(settings):
    secret = new_secret()
    settings.API_KEY_PREFIX = "acme"
    assert not is_well_formed(secret)
    assert new_secret().startswith("acme_")
    assert is_well_formed(new_secret())


def test_only_start_and_end_of_a_secret_are_displayed():
    secret = new_secret()
    assert display_prefix(secret) == secret[:11]
    assert last4(secret) == secret[-4:]


def test_each_pepper_gives_a_different_hash(settings):
    secret = new_secret()
    settings.API_KEY_PEPPERS = ["new" * 12, "old" * 12]
    hashes = candidate_hashes(secret)
    assert list(hashes) == [hash_secret(secret), hash_secret(secret, "old" * 12)]
    assert list(hashes.values()) == [pepper_id("new" * 12), pepper_id("old" * 12)]
    assert len(set(hashes)) == 2


@pytest.mark.parametrize("pepper", ["a" * 40, "ü" * 40])
def test_the_id_of_a_pepper_does_not_reveal_it(pepper):
    assert len(pepper_id(pepper)) == 8
    assert pepper_id(pepper) not in pepper


def test_malformed_secret_is_not_looked_up(db, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert list(APIKey.objects.with_secret("gate_not-one")) == []
