"""Which users staff can change."""

from __future__ import annotations

import pytest
from django.db import transaction

from accounts import rights
from accounts.models import User
from tests.conftest import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def users(alice, sue):
    return {
        "ordinary": alice,
        "staff": make_user("tom", is_staff=True),
        "other staff": make_user("tim", is_staff=True),
        "superuser": sue,
        "other superuser": make_user("sam", is_staff=True, is_superuser=True),
        "suspended superuser": make_user("sid", is_superuser=True, is_active=False),
        "bare superuser": make_user("sal", is_superuser=True),
    }


@pytest.mark.parametrize(
    ("actor", "target", "allowed"),
    [
        ("staff", "ordinary", True),
        ("staff", "staff", False),
        ("staff", "other staff", False),
        ("staff", "superuser", False),
        ("staff", "bare superuser", False),
        ("superuser", "ordinary", True),
        ("superuser", "staff", True),
        ("superuser", "superuser", True),
        ("superuser", "other superuser", True),
        ("suspended superuser", "ordinary", False),
    ],
)
def test_who_can_change_whom(users, actor, target, allowed):
    assert rights.may_change(users[actor], users[target]) is allowed
    assert bool(rights.why_not_change(users[actor], users[target])) is not allowed


@pytest.mark.parametrize(
    ("actor", "target", "allowed"),
    [
        ("staff", "ordinary", True),
        ("staff", "staff", False),
        ("staff", "superuser", False),
        ("superuser", "superuser", False),
        ("superuser", "other superuser", True),
        ("superuser", "suspended superuser", True),
        ("superuser", "staff", True),
    ],
)
def test_who_can_remove_whom(users, actor, target, allowed):
    assert (rights.why_not_remove(users[actor], users[target]) == "") is allowed


def test_only_superusers_can_change_privileges(users):
    assert rights.protected_fields(users["staff"], users["ordinary"]) == rights.PRIVILEGE_FIELDS | {"email"}
    assert rights.protected_fields(users["staff"], None) == rights.PRIVILEGE_FIELDS
    assert rights.protected_fields(users["superuser"], users["ordinary"]) == frozenset()
    assert rights.protected_fields(users["superuser"], None) == frozenset()


def test_superusers_cannot_remove_their_own_access(users):
    assert {"is_active", "is_superuser", "is_staff", "email"} <= rights.protected_fields(
        users["superuser"], users["superuser"]
    )


def test_the_last_superuser_who_can_sign_in_cannot_be_removed(users):
    assert not rights.would_remove_last_superuser([users["superuser"]])
    can_sign_in = [users["superuser"], users["other superuser"], users["bare superuser"]]
    assert rights.would_remove_last_superuser(can_sign_in)
    assert not rights.would_remove_last_superuser([users["ordinary"], users["suspended superuser"]])
    User.objects.filter(pk__in=[user.pk for user in can_sign_in[1:]]).delete()
    assert rights.would_remove_last_superuser([users["superuser"]])
    assert not rights.would_remove_last_superuser([])


def test_a_suspended_superuser_cannot_remove_the_last_one(users):
    User.objects.filter(username__in=["sue", "sal"]).update(is_active=False)
    # The actor's instance was loaded before their suspension, as when two superusers suspend each other.
    assert "is the last superuser" in rights.why_not_remove(users["superuser"], users["other superuser"])


@pytest.mark.django_db(transaction=True)
def test_the_last_superuser_is_found_without_a_transaction(sue):
    tom = make_user("tom", is_staff=True, is_superuser=True)
    assert rights.why_not_remove(tom, sue) == ""
    User.objects.filter(pk=tom.pk).update(is_active=False)
    assert "is the last superuser" in rights.why_not_remove(tom, sue)


def test_superusers_are_locked_in_a_transaction(users, django_assert_num_queries):
    with transaction.atomic(), django_assert_num_queries(1) as captured:
        rights.would_remove_last_superuser([users["superuser"]])
    if User.objects.db == "default" and captured.connection.vendor == "postgresql":
        assert "FOR UPDATE" in captured.captured_queries[0]["sql"]
