"""User.objects.create_user and create_superuser: required values and defaults."""

from __future__ import annotations

import pytest
from django.contrib.auth.password_validation import password_validators_help_texts
from django.db import IntegrityError

from accounts.addresses import is_verified
from accounts.models import User


def test_a_user_is_verified_and_on_the_default_tier_by_default(free):
    user = User.objects.create_user("ada", "Ada@Example.COM", "correct horse 1", name="Ada Lovelace")
    assert (user.tier, user.email, user.get_full_name()) == (free, "ada@example.com", "Ada Lovelace")
    assert is_verified(user)
    assert not user.is_privileged


def test_a_user_can_be_unverified_without_tier_or_password(free):
    user = User.objects.create_user("ada", "ada@example.com", tier=None, verified=False)
    assert user.tier is None
    assert not user.emailaddress_set.exists()
    assert not user.has_usable_password()
    assert user.get_full_name() == "ada"


def test_a_superuser_is_staff(free):
    root = User.objects.create_superuser("root", "root@example.com", "correct horse 1")
    assert root.is_staff
    assert root.is_superuser
    assert root.tier == free


def test_a_taken_username_is_rejected(alice):
    with pytest.raises(IntegrityError):
        User.objects.create_user("alice", "other@example.com")


def test_the_password_help_text_names_the_maximum_length():
    assert "Your password can have at most 128 characters." in password_validators_help_texts()
