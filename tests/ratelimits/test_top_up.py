"""Top up a user's prepaid limit."""

from __future__ import annotations

import datetime as dt
from io import StringIO

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.utils import timezone

from config.base.history import Author
from ratelimits.budgets import dollars, rate_in_words
from ratelimits.models import MAX_AMOUNT, MAX_LIMIT, RateLimit
from ratelimits.services import top_up
from tests.parallel import in_parallel


def prepaid(user, **fields):
    return RateLimit.objects.create(
        **{"user": user, "name": "prepaid", "path": "/*", "window": "total", "unit": "tokens", "limit": 100} | fields
    )


def test_command_raises_the_limit_and_is_logged(alice, capsys):
    limit = prepaid(alice)
    call_command("top_up", "alice", "prepaid", "25")
    assert capsys.readouterr().out == "Topped up prepaid: 125 tokens in total.\n"
    limit.refresh_from_db()
    assert limit.limit == 125
    entry = LogEntry.objects.get(object_id=str(limit.pk))
    assert entry.user == alice
    assert "Topped up by 25 tokens." in entry.change_message
    assert "manage.py top_up" in entry.change_message
    assert '"old": "100", "new": "125"' in entry.change_message


def test_username_is_case_insensitive(alice):
    limit = prepaid(alice)
    call_command("top_up", "ALICE", "prepaid", "25", stdout=StringIO())
    limit.refresh_from_db()
    assert limit.limit == 125


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody", "prepaid", "1"), "There is no user with the username “nobody”."),
        (
            ("bob", "prepaid", "1"),
            "bob has no prepaid rate limit. Create one on their page first, with the window “Total”.",
        ),
        (("alice", "other", "1"), "alice has no prepaid rate limit named “other”. Use one of prepaid."),
        (("alice", "monthly", "1"), "alice has no prepaid rate limit named “monthly”. Use one of prepaid."),
        (("alice", "prepaid", "0"), "Enter an amount of 1 or more."),
        (("alice", "prepaid", "-5"), "Enter an amount of 1 or more."),
        (("alice", "prepaid", "1,000"), "Enter the amount as a whole number, without separators."),
        (("alice", "prepaid", "１２"), "Enter the amount as a whole number, without separators."),
        (("alice", "prepaid", "-"), "Enter the amount as a whole number, without separators."),
        (("alice", "prepaid", "9" * 5000), "Enter the amount as a whole number, without separators."),
        (("alice", "prepaid", "9" * 20), "enter an amount up to 999,999,999,999,899."),
        (("alice", "prepaid", str(2**63)), "enter an amount up to 999,999,999,999,899."),
        (("alice", "prepaid", str(MAX_AMOUNT - 99)), "The limit can be at most 999,999,999,999,999: "),
    ],
)
def test_invalid_top_up_is_rejected_and_changes_nothing(alice, bob, arguments, message):
    limit = prepaid(alice)
    RateLimit.objects.create(user=alice, name="monthly", path="/*", window="month", limit=5)
    with pytest.raises(CommandError) as caught:
        call_command("top_up", *arguments)
    assert message in str(caught.value)
    limit.refresh_from_db()
    assert limit.limit == 100


def test_limit_can_be_topped_up_to_its_maximum(alice):
    tokens = prepaid(alice)
    requests = prepaid(alice, name="requests", unit="requests")
    assert top_up(tokens, MAX_AMOUNT - 100, Author(alice)).limit == MAX_AMOUNT
    assert top_up(requests, MAX_LIMIT - 100, Author(alice)).limit == MAX_LIMIT
    with pytest.raises(ValidationError, match="enter an amount up to 0"):
        top_up(requests, 1, Author(alice))


@pytest.mark.parametrize("is_over", ["deleted", "ended"])
def test_deleted_or_ended_limit_cannot_be_topped_up(alice, is_over):
    limit = prepaid(alice)
    now = timezone.now()
    if is_over == "deleted":
        limit.delete()
    else:
        RateLimit.objects.filter(pk=limit.pk).update(ends_at=now - dt.timedelta(days=1))
    with pytest.raises(ValidationError, match="Choose another one"):
        top_up(limit, 1, Author(alice))


@pytest.mark.django_db(transaction=True)
def test_concurrent_top_ups_are_all_added(alice):
    limit = prepaid(alice)
    in_parallel(20, lambda number: top_up(limit, 10, Author(alice)))
    limit.refresh_from_db()
    assert limit.limit == 300
    assert LogEntry.objects.filter(object_id=str(limit.pk)).count() == 20


@pytest.mark.parametrize(
    ("microcents", "words"),
    [(0, "$0.00"), (1, "$0.00000001"), (42_000, "$0.00042"), (10**8, "$1.00"), (123_450_000_000, "$1,234.50")],
)
def test_microcents_are_shown_as_dollars(microcents, words):
    assert dollars(microcents) == words
    assert rate_in_words(microcents, 60, "month", "microcents") == f"{words} per month"
