"""Passwords are hashed with the parameters of OWASP's Password Storage Cheat Sheet."""

from __future__ import annotations

import pytest
from django.contrib.auth.hashers import check_password, identify_hasher, make_password

from accounts.signin.hashers import OWASPArgon2PasswordHasher
from tests.conftest import OWASP_COSTS


def test_argon2_parameters_match_owasp(monkeypatch):
    assert OWASP_COSTS == (2, 19 * 1024)
    monkeypatch.setattr(OWASPArgon2PasswordHasher, "time_cost", OWASP_COSTS[0])
    monkeypatch.setattr(OWASPArgon2PasswordHasher, "memory_cost", OWASP_COSTS[1])
    assert make_password("correct horse 1").startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize("password", ["correct horse 1", "Пароль с пробелами", "🔑" * 8, "x" * 128])
def test_any_allowed_password_can_be_hashed_and_verified(password):
    stored = make_password(password)
    assert check_password(password, stored)
    assert not check_password(password + " ", stored)


def test_a_pbkdf2_hash_is_upgraded_at_the_next_sign_in():
    stored = make_password("correct horse 1", hasher="pbkdf2_sha256")
    replaced = []
    assert check_password("correct horse 1", stored, setter=replaced.append)
    assert replaced == ["correct horse 1"]
    assert isinstance(identify_hasher(make_password("x")), OWASPArgon2PasswordHasher)
