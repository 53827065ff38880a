"""create_key, revoke_key, notify_expiring_keys, fold_usage, prune_usage."""

from __future__ import annotations

import json
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from io import StringIO
from smtplib import SMTPRecipientsRefused
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.contrib.admin.models import LogEntry
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts.models import User
from apikeys.jobs.schedule import scheduled
from apikeys.models import APIKey, ExpiryNotice, KeyUsage, UsageHour
from apikeys.secrets import hash_secret
from tests.apikeys.usage.events import event, issue_key_to

DAY = timedelta(days=1)


def run(command, /, *args, **options):
    out = StringIO()
    call_command(command, *args, stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def test_create_key_prints_the_secret(alice):
    created = json.loads(run("create_key", "alice", name="nightly"))
    key = APIKey.objects.get()
    assert created["id"] == str(key.pk)
    assert key.secret_hash == hash_secret(created["secret"])
    assert (key.user, key.name, key.expires_at, created["expires_at"]) == (alice, "nightly", None, None)
    assert created["permissions"] == ["* *"]
    entry = LogEntry.objects.get()
    assert "manage.py create_key" in entry.change_message
    assert created["secret"] not in entry.change_message


def test_create_key_accepts_permissions_and_expiry(alice):
    created = json.loads(
        run("create_key", "ALICE", name="k", allow=["read /orders/*", "* billing at API.example.com"], expires=30)
    )
    assert created["permissions"] == ["* billing at api.example.com", "read /orders/*"]
    assert timedelta(days=29) < APIKey.objects.get().expires_at - timezone.now() <= 30 * DAY


def test_create_key_accepts_rate_limit_and_host(alice):
    allow = ["read /orders/*", "* billing at api.example.com"]
    created = json.loads(
        run("create_key", "alice", name="k", allow=allow, host="*.Example.com", limit=1000, period=3600, window="fixed")
    )
    assert created["permissions"] == ["* billing at api.example.com", "read /orders/* at *.example.com"]
    assert created["rate_limit"] == "1,000 per hour (UTC)"
    key = APIKey.objects.get()
    assert (key.rate_limit, key.rate_period, key.rate_window) == (1000, 3600, "fixed")
    assert json.loads(run("create_key", "alice", name="k", limit=5))["rate_limit"] == "5 per minute"
    assert json.loads(run("create_key", "alice", name="k", limit=5, window="month"))["rate_limit"] == "5 per month"
    created = json.loads(run("create_key", "alice", name="k", host="api.example.com"))
    assert (created["rate_limit"], created["permissions"]) == (None, ["* * at api.example.com"])


@pytest.mark.parametrize(
    ("username", "options", "message"),
    [
        ("nobody", {}, "no user with the username “nobody”"),
        ("al\udcff", {}, "There is no user"),
        ("al\0", {}, "There is no user"),
        ("alice", {"allow": ["read"]}, "an action and a resource"),
        ("alice", {"allow": ["read /a /b"]}, "an action and a resource"),
        (
            "alice",
            {"allow": ["fly /a"]},
            r"^--allow: “fly” isn't a valid action. Enter one of read, create, update, delete, \*\.$",
        ),
        ("alice", {"allow": ["50%s /a"]}, "^--allow: “50%s” isn't a valid action"),
        ("alice", {"allow": ["read /a b"]}, "an action and a resource"),
        ("alice", {"allow": ["read /a at https://b"]}, "Remove the scheme"),
        ("alice", {"allow": ["read /a*"]}, "only as the last segment"),
        ("alice", {"expires": 0}, "a number of days from 1"),
        ("alice", {"expires": 10**9}, "a number of days from 1"),
        ("alice", {"limit": 0}, "^--limit: .*1 or more"),
        ("alice", {"limit": 2**63}, " or less."),
        ("alice", {"limit": 1, "period": 0}, "^--period: Enter a period from 1 second"),
        ("alice", {"limit": 1, "period": 10**9}, "Enter a period from 1 second"),
        ("alice", {"limit": 1, "window": "total"}, "Enter one of rolling, fixed, week, month\\."),
        ("alice", {"period": 60}, "--period and --window need --limit"),
        ("alice", {"window": "week"}, "--period and --window need --limit"),
        ("alice", {"host": "https://a.example"}, "Remove the scheme"),
        ("alice", {"host": "a.*.example"}, "only as the first label"),
        ("alice", {"name": "  "}, "^--name: "),
        ("alice", {"name": "x" * 101}, "100"),
    ],
)
def test_create_key_reports_invalid_options(alice, username, options, message):
    with pytest.raises(CommandError, match=message):
        run("create_key", username, **({"name": "k"} | options))
    assert not APIKey.objects.exists()


def test_create_key_fails_for_deleted_user(alice):
    alice.delete()
    with pytest.raises(CommandError):
        run("create_key", "alice", name="k")


def test_revoking_a_key_again_keeps_the_first_reason(alice):
    key = issue_key_to(alice)
    assert "Revoked " in run("revoke_key", str(key.pk), reason="leaked")
    assert "already revoked on" in run("revoke_key", str(key.pk), reason="again")
    key.refresh_from_db()
    assert (key.state, key.revoked_reason) == ("revoked", "leaked")


@pytest.mark.parametrize("key_id", ["", "1", "x", str(uuid4())])
def test_revoke_key_fails_for_unknown_id(db, key_id):
    with pytest.raises(CommandError, match="no API key"):
        run("revoke_key", key_id, reason="x")


def test_revoke_key_requires_a_reason(alice):
    with pytest.raises(CommandError, match="Enter a reason"):
        run("revoke_key", str(issue_key_to(alice).pk), reason=" ")


def expiring_key(owner, days, **options):
    return issue_key_to(
        owner, f"in {days} days", expires_at=timezone.now() + timedelta(days=days) - timedelta(hours=1), **options
    )


def sent_emails():
    return [(message.to[0], message.subject) for message in mail.outbox]


@pytest.mark.parametrize(
    ("days", "is_notified"), [(1, True), (7, True), (14, True), (30, True), (31, False), (200, False)]
)
def test_owners_are_notified_from_30_days_before_expiry(alice, days, is_notified):
    expiring_key(alice, days)
    run("notify_expiring_keys")
    noun = "day" if days == 1 else "days"
    assert sent_emails() == (
        [("alice@example.com", f"[Gatehouse] API key “in {days} days” expires in {days} {noun}")] if is_notified else []
    )


def test_notice_is_sent_once_per_threshold(alice):
    key = expiring_key(alice, 30)
    for days, count in ((30, 1), (30, 1), (20, 1), (14, 2), (13, 2), (7, 3), (1, 4), (1, 4)):
        APIKey.objects.update(expires_at=timezone.now() + timedelta(days=days) - timedelta(hours=1))
        run("notify_expiring_keys")
        assert len(mail.outbox) == count, days
    assert sorted(ExpiryNotice.objects.filter(api_key=key).values_list("days", flat=True)) == [1, 7, 14, 30]


def test_missed_notices_are_not_sent_later(alice):
    expiring_key(alice, 5)
    run("notify_expiring_keys")
    APIKey.objects.update(expires_at=timezone.now() + timedelta(days=6))
    run("notify_expiring_keys")
    assert len(mail.outbox) == 1


def test_team_is_notified_too(alice, settings):
    settings.KEY_EXPIRY_TEAM_EMAIL = "keys@example.com"
    key = expiring_key(alice, 7)
    run("notify_expiring_keys")
    assert sent_emails() == [
        ("alice@example.com", "[Gatehouse] API key “in 7 days” expires in 7 days"),
        ("keys@example.com", "[Gatehouse] API key “in 7 days” expires in 7 days (alice)"),
    ]
    assert key.shown_as in mail.outbox[0].body
    assert "Last used: never" in mail.outbox[0].body


def test_notice_times_use_owner_time_zone_and_utc_for_the_team(alice, settings):
    settings.KEY_EXPIRY_TEAM_EMAIL = "keys@example.com"
    User.objects.filter(pk=alice.pk).update(time_zone="Asia/Tokyo")
    key = expiring_key(alice, 7)
    used = datetime(2026, 1, 31, 22, 30, tzinfo=UTC)
    APIKey.objects.filter(pk=key.pk).update(last_used_at=used)
    run("notify_expiring_keys")
    to_owner, to_team = (message.body for message in mail.outbox)
    assert f"Expires: {key.expires_at.astimezone(ZoneInfo('Asia/Tokyo')):%Y-%m-%d %H:%M} JST" in to_owner
    assert "Last used: 2026-02-01 07:30 JST" in to_owner
    assert f"Expires: {key.expires_at:%Y-%m-%d %H:%M} UTC" in to_team
    assert "Last used: 2026-01-31 22:30 UTC" in to_team


def test_only_owners_of_active_keys_are_notified(alice, bob, charlie):
    for number, change in enumerate(
        ({"is_active": False}, {"revoked_at": timezone.now()}, {"deleted_at": timezone.now()})
    ):
        APIKey.objects.filter(pk=expiring_key(alice, 5 + number).pk).update(**change)
    expiring_key(bob, 5)
    bob.suspend()
    expiring_key(charlie, 5)
    charlie.delete()
    APIKey.objects.filter(pk=issue_key_to(alice).pk).update(expires_at=timezone.now() - DAY)
    run("notify_expiring_keys")
    assert mail.outbox == []


def test_dry_run_notifies_no_one(alice):
    expiring_key(alice, 5)
    assert "Would notify alice" in run("notify_expiring_keys", dry_run=True)
    assert mail.outbox == []
    assert not ExpiryNotice.objects.exists()


class UnreachableMailServer:
    def send_messages(self, messages):
        raise ConnectionRefusedError("no mail server")


def test_failed_email_is_sent_by_the_next_run(alice, monkeypatch):
    key = expiring_key(alice, 5)
    APIKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now())
    with monkeypatch.context() as patched:
        patched.setattr("apikeys.expiry_notices.get_connection", UnreachableMailServer)
        with pytest.raises(CommandError, match="1 notice couldn't be sent"):
            run("notify_expiring_keys")
    run("notify_expiring_keys")
    assert len(mail.outbox) == 1


BAD_ADDRESSES = [
    "a@exam\u202cple.com",
    "a@example.com\u200f",
    f"a@{'ü' * 60}.de",
    "a@\uffff.com",
    "a\nb@example.com",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES, ids=ascii)
def test_invalid_email_address_does_not_block_other_notices(alice, bob, settings, caplog, address):
    """Users created before such addresses were rejected can have one."""
    settings.KEY_EXPIRY_TEAM_EMAIL = "keys@example.com"
    User.objects.filter(pk=alice.pk).update(email=address)
    expiring_key(alice, 5)
    expiring_key(bob, 5)
    run("notify_expiring_keys")
    assert [recipient for recipient, _ in sent_emails()] == ["keys@example.com", "bob@example.com", "keys@example.com"]
    assert "The notice for alice could not be sent" in caplog.text
    assert address not in caplog.text
    assert "their address can't receive email" in mail.outbox[0].body
    assert "can't receive email" not in mail.outbox[2].body
    run("notify_expiring_keys")
    assert len(mail.outbox) == 3


def test_invalid_team_address_does_not_block_other_notices(alice, bob, settings, caplog):
    settings.KEY_EXPIRY_TEAM_EMAIL = "keys@exam\u202cple.com"
    expiring_key(alice, 5)
    expiring_key(bob, 5)
    run("notify_expiring_keys")
    assert [recipient for recipient, _ in sent_emails()] == ["alice@example.com", "bob@example.com"]
    assert "The team's copy of the notice for bob could not be sent" in caplog.text


def test_line_break_in_key_name_does_not_add_email_headers(alice):
    key = expiring_key(alice, 5)
    APIKey.objects.filter(pk=key.pk).update(name="a\r\nBcc: everybody@example.com")
    run("notify_expiring_keys")
    ((recipient, subject),) = sent_emails()
    assert (recipient, subject) == (
        "alice@example.com",
        "[Gatehouse] API key “a Bcc: everybody@example.com” expires in 5 days",
    )


class RejectingMailServer:
    """A mail server that rejects email to Alice."""

    code = 550

    def send_messages(self, messages):
        if messages[0].to == ["alice@example.com"]:
            raise SMTPRecipientsRefused({"alice@example.com": (self.code, b"no")})
        return mail.get_connection().send_messages(messages)


@pytest.mark.parametrize(("code", "is_permanent"), [(550, True), (450, False)])
def test_rejected_address_is_retried_only_after_a_temporary_error(alice, bob, monkeypatch, code, is_permanent):
    monkeypatch.setattr(RejectingMailServer, "code", code)
    expiring_key(alice, 5)
    expiring_key(bob, 5)
    with monkeypatch.context() as patched:
        patched.setattr("apikeys.expiry_notices.get_connection", RejectingMailServer)
        with nullcontext() if is_permanent else pytest.raises(CommandError, match="1 notice couldn't be sent"):
            run("notify_expiring_keys")
    assert [recipient for recipient, _ in sent_emails()] == ["bob@example.com"]
    run("notify_expiring_keys")
    assert len(mail.outbox) == (1 if is_permanent else 2)


def test_recent_claim_is_respected_and_stale_claim_is_taken_over(alice):
    key = expiring_key(alice, 5)
    claim = ExpiryNotice.objects.create(api_key=key, days=7, claimed_at=timezone.now())
    run("notify_expiring_keys")
    assert mail.outbox == []
    ExpiryNotice.objects.filter(pk=claim.pk).update(claimed_at=timezone.now() - timedelta(hours=2))
    run("notify_expiring_keys")
    assert len(mail.outbox) == 1


def test_concurrent_runs_send_one_email(alice):
    from apikeys.expiry_notices import due_notices, send

    expiring_key(alice, 5)
    ((key, days),) = list(due_notices())
    assert [send(key, days), send(key, days)] == [True, False]
    assert len(mail.outbox) == 1


def test_notice_sent_by_another_run_is_reported(alice, monkeypatch):
    from apikeys.management.commands import notify_expiring_keys

    key = expiring_key(alice, 5)
    run("notify_expiring_keys")
    monkeypatch.setattr(notify_expiring_keys, "due_notices", lambda: [(key, 7)])
    assert "Another run notified" in run("notify_expiring_keys")


def test_fold_usage_totals_completed_hours(alice):
    event(issue_key_to(alice), timedelta(hours=5))
    assert "Folded 1 hour." in run("fold_usage", verbosity=2)
    assert "Folded 0 hours." in run("fold_usage")
    assert UsageHour.objects.count() == 1


def test_prune_usage_removes_old_events_and_keeps_their_totals(alice):
    key = issue_key_to(alice)
    event(key, 100 * DAY)
    event(key)
    assert "Would remove 1 event from before" in run("prune_usage", dry_run=True)
    assert KeyUsage.objects.count() == 2
    assert "Removed 1 event from before" in run("prune_usage")
    assert (KeyUsage.objects.count(), UsageHour.objects.count()) == (1, 1)
    assert "0 events" in run("prune_usage", days=90)


def test_prune_usage_can_remove_totals_too(alice):
    event(issue_key_to(alice), 100 * DAY)
    run("prune_usage", days=30, without_totals=True)
    assert (KeyUsage.objects.count(), UsageHour.objects.count()) == (0, 0)


@pytest.mark.parametrize("days", [0, -1, 10**9])
def test_prune_usage_checks_the_number_of_days(db, days):
    with pytest.raises(CommandError, match="--days must be"):
        run("prune_usage", days=days)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite")
def test_partition_commands_explain_that_sqlite_has_no_partitions(db, settings):
    settings.KEEP_USAGE_DAYS = 90
    assert run("partition_usage") == "SQLite has no partitions. There's nothing to do.\n"
    with pytest.raises(CommandError, match="--whole-months needs PostgreSQL"):
        run("prune_usage", whole_months=True)
    assert "partition_usage" not in {job.name for job in scheduled()}
    assert ("--days=90",) in {job.arguments for job in scheduled()}
