"""Passwords are hashed as OWASP's Password Storage Cheat Sheet says."""

from __future__ import annotations

import pytest
from django.contrib.auth.hashers import check_password, identify_hasher, make_password

from accounts.signin.hashers import OWASPArgon2PasswordHasher
from tests.conftest import OWASP_COSTS


def test_the_costs_are_those_of_owasp(monkeypatch):
    assert OWASP_COSTS == (2, 19 * 1024)
    monkeypatch.setattr(OWASPArgon2PasswordHasher, "time_cost", OWASP_COSTS[0])
    monkeypatch.setattr(OWASPArgon2PasswordHasher, "memory_cost", OWASP_COSTS[1])
    assert make_password("correct horse 1").startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")


@pytest.mark.parametrize("password", ["correct horse 1", "Пароль с пробелами", "🔑" * 8, "x" * 128])
def test_any_password_that_the_rules_allow_is_hashed_and_found_again(password):
    stored = make_password(password)
    assert check_password(password, stored)
    assert not check_password(password + " ", stored)


def test_a_hash_from_another_django_project_is_replaced_at_the_next_sign_in():
    stored = make_password("correct horse 1", hasher="pbkdf2_sha256")
    replaced = []
    assert check_password("correct horse 1", stored, setter=replaced.append)
    assert replaced == ["correct horse 1"]
    assert isinstance(identify_hasher(make_password("x")), OWASPArgon2PasswordHasher)
