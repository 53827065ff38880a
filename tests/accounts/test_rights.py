"""Which users staff may change."""

from __future__ import annotations

import pytest
from django.db import transaction

from accounts import rights
from accounts.models import User
from tests.conftest import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(alice, sue):
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
def test_who_may_change_whom(cast, actor, target, allowed):
    assert rights.may_change(cast[actor], cast[target]) is allowed
    assert bool(rights.why_not_change(cast[actor], cast[target])) is not allowed


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
def test_who_may_remove_whom(cast, actor, target, allowed):
    assert (rights.why_not_remove(cast[actor], cast[target]) == "") is allowed


def test_only_superusers_set_the_fields_that_give_privileges(cast):
    assert rights.protected_fields(cast["staff"], cast["ordinary"]) == rights.PRIVILEGE_FIELDS | {"email"}
    assert rights.protected_fields(cast["staff"], None) == rights.PRIVILEGE_FIELDS
    assert rights.protected_fields(cast["superuser"], cast["ordinary"]) == frozenset()
    assert rights.protected_fields(cast["superuser"], None) == frozenset()


def test_superusers_cannot_remove_their_own_access(cast):
    assert {"is_active", "is_superuser", "is_staff", "email"} <= rights.protected_fields(
        cast["superuser"], cast["superuser"]
    )


def test_the_last_superuser_who_can_sign_in_stays(cast):
    assert not rights.would_remove_last_superuser([cast["superuser"]])
    able = [cast["superuser"], cast["other superuser"], cast["bare superuser"]]
    assert rights.would_remove_last_superuser(able)
    assert not rights.would_remove_last_superuser([cast["ordinary"], cast["suspended superuser"]])
    User.objects.filter(pk__in=[user.pk for user in able[1:]]).delete()
    assert rights.would_remove_last_superuser([cast["superuser"]])
    assert not rights.would_remove_last_superuser([])


def test_the_last_superuser_is_not_removed_even_by_one_who_was_suspended_a_moment_ago(cast):
    User.objects.filter(username__in=["sue", "sal"]).update(is_active=False)
    # The actor's instance is older than their suspension, as when two superusers suspend each other.
    assert "is the last superuser" in rights.why_not_remove(cast["superuser"], cast["other superuser"])


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_the_last_superuser_is_known_without_a_lock(sue):
    tom = make_user("tom", is_staff=True, is_superuser=True)
    assert rights.why_not_remove(tom, sue) == ""
    User.objects.filter(pk=tom.pk).update(is_active=False)
    assert "is the last superuser" in rights.why_not_remove(tom, sue)


def test_inside_a_transaction_the_superusers_are_locked(cast, django_assert_num_queries):
    with transaction.atomic(), django_assert_num_queries(1) as captured:
        rights.would_remove_last_superuser([cast["superuser"]])
    if User.objects.db == "default" and captured.connection.vendor == "postgresql":
        assert "FOR UPDATE" in captured.captured_queries[0]["sql"]
