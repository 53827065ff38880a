"""Erasing a user removes their personal data everywhere, and keeps everything else."""

from __future__ import annotations

import io
import json

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from PIL import Image

from accounts.addresses import set_address
from accounts.erasure import erase, purge
from accounts.models import BulkChange, User
from accounts.staff.bulk import stop
from apikeys.services import issue_key
from config.base.history import ADDITION, CHANGE, Author, initial_values
from ratelimits.models import RateLimit
from tests.accounts.people import ALL_USER_PERMISSIONS, history, make_event, make_key, messages, signed_in
from tests.accounts.signin.steps import sign_in
from tests.conftest import make_user
from tests.rows import make_staff

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("media_folder")]

TRACES = ("alice", "wonder", "198.51.100.4", "lynx", "github-77", "google-77")


def tables():
    names = connection.introspection.table_names()
    return [
        name
        for name in names
        if not name.startswith(("django_migrations", "auth_permission", "sqlite_", "django_content"))
    ]


def whole_database():
    """Every value in the database, as one lowercase text."""
    parts = []
    with connection.cursor() as cursor:
        for table in tables():
            cursor.execute(f'SELECT * FROM "{table}"')
            parts += [str(value) for row in cursor.fetchall() for value in row]
    return " ".join(parts).lower()


@pytest.fixture
def user_with_traces(free):
    """A user with personal data in every table that can have some."""
    user = make_user("alice", google_id="google-77", github_id="github-77", oauth_provider="github")
    User.objects.filter(pk=user.pk).update(name="Alice Wonder")
    set_address(user, verified=True)
    EmailAddress.objects.create(user=user, email="wonder@example.net")
    SocialAccount.objects.create(user=user, provider="github", uid="github-77", extra_data={"login": "alice"})
    browser = Client(REMOTE_ADDR="198.51.100.4", HTTP_USER_AGENT="Lynx/2.9")
    sign_in(browser, "alice")
    Authenticator.objects.create(user=user, type="totp", data={"secret": "s"})
    target = io.BytesIO()
    Image.new("RGB", (9, 9)).save(target, "PNG")
    browser.post("/account/picture/change/", {"picture": SimpleUploadedFile("alice.png", target.getvalue())})
    browser.post("/account/", {"name": "Alice Wonder II", "username": "alice_w"})
    key = make_key(
        user,
        "export",
        last_used_ip="198.51.100.4",
        allowed_ips=["198.51.100.4"],
        metadata={"mail": "alice@example.com"},
    )
    make_event(key, ip_address="198.51.100.4", user_agent="Lynx/2.9 alice")
    user.refresh_from_db()
    return user


def test_no_personal_data_is_left_in_the_database(user_with_traces, sue):
    Author(sue).record(user_with_traces, CHANGE, note="Wrote to alice@example.com about it.")
    Author(sue).record(
        user_with_traces.api_keys.get(), CHANGE, changes=[{"field": "user", "old": "–", "new": "alice_w"}]
    )
    Author(sue).record(user_with_traces.api_keys.get(), CHANGE, note="Handed to “alice_w”.")
    LogEntry.objects.create(
        user=sue, content_type=ContentType.objects.get_for_model(User), object_id=str(user_with_traces.pk),
        object_repr="alice_w", action_flag=CHANGE, change_message="Changed alice@example.com by hand",
    )  # fmt: skip
    before = whole_database()
    assert all(trace in before for trace in TRACES)
    erase(user_with_traces, Author(sue))
    after = whole_database()
    assert [
        after[max(0, after.index(trace) - 200) : after.index(trace) + 100] for trace in TRACES if trace in after
    ] == []


def leave_traces(user, author):
    """Create history entries about the user's rows, under a previous name and the current one, and a bulk change that skipped them."""
    issue_key(user, author, name="first")
    limit = RateLimit.objects.create(user=user, path="/orders", limit=5, name="more orders")
    author.record(limit, ADDITION, changes=initial_values(limit))
    author.record(user, CHANGE, changes=[{"field": "username", "old": user.username, "new": "wonder_2"}])
    author.record(user, CHANGE, changes=[{"field": "tier", "old": "free", "new": "pro"}], note="Not of the name.")
    author.record(user.api_keys.first(), ADDITION, note=f"Created for {user.username}. Permissions: everything.")
    User.objects.filter(pk=user.pk).update(username="wonder_2")
    user.refresh_from_db()
    issue_key(user, author, name="second")
    BulkChange.objects.create(
        author=author.user, title="Restore 2 users", total=2, reasons=["User “wonder_2” can't be."]
    )
    BulkChange.objects.create(author=author.user, title="Restore 1 user", total=1, reasons=["User “bob” can't be."])


@pytest.mark.parametrize(
    "remove", [lambda user, sue: erase(user, Author(sue)), lambda user, sue: purge(user)], ids=["erase", "purge"]
)
def test_history_and_bulk_changes_no_longer_name_the_user(alice, sue, remove):
    leave_traces(alice, Author(sue))
    alice.delete()
    remove(alice, sue)
    left = whole_database()
    assert [left[max(0, left.index(name) - 200) :][:300] for name in ("alice", "wonder_2") if name in left] == []
    assert all(text in left for text in ("more orders", "bob", "not of the name.", "(erased)"))


def test_bulk_changes_by_the_user_stay_without_their_name_and_address(alice, sue):
    change = BulkChange.objects.create(author=alice, title="Suspend 2 users", total=2, address="203.0.113.9")
    assert stop(change.pk, str(alice))
    erase(alice, Author(sue))
    change.refresh_from_db()
    assert (change.address, change.error) == (None, "(erased)")


def test_the_user_usage_and_history_stay_without_personal_data(user_with_traces, sue):
    entries = LogEntry.objects.count()
    erase(user_with_traces, Author(sue))
    user_with_traces.refresh_from_db()
    assert (user_with_traces.username, user_with_traces.name) == (f"erased_{user_with_traces.pk}", "Erased user")
    assert user_with_traces.email == f"erased-{user_with_traces.pk}@erased.invalid"
    assert user_with_traces.state == "erased"
    assert user_with_traces.tier.name == "free"
    event = user_with_traces.usage.get()
    assert (event.endpoint, event.status_code, event.ip_address, event.user_agent) == ("/orders", 200, None, "")
    assert LogEntry.objects.count() == entries + 1
    assert history(user_with_traces)[0].summary == "Erased."
    changed = {
        change["field"]: (change["old"], change["new"])
        for entry in history(user_with_traces)
        for change in entry.values
    }
    assert changed["username"] == ("(erased)", "(erased)")


def test_keys_are_revoked(user_with_traces, sue):
    erase(user_with_traces, Author(sue))
    key = user_with_traces.api_keys.get()
    assert key.revoked_at
    assert key.revoked_reason == "User erased."
    assert (key.last_used_ip, key.allowed_ips, key.metadata) == (None, [], {})


def test_sign_in_data_sessions_permissions_and_picture_are_removed(user_with_traces, sue):
    user_with_traces.groups.add(Group.objects.create(name="support"))
    user_with_traces.user_permissions.add(Permission.objects.first())
    assert Session.objects.exists()
    erase(user_with_traces, Author(sue))
    user_with_traces.refresh_from_db()
    for model in (EmailAddress, SocialAccount, Authenticator, UserSession):
        assert not model.objects.filter(user=user_with_traces).exists()
    assert not Session.objects.exists()
    assert not user_with_traces.groups.exists()
    assert not user_with_traces.user_permissions.exists()
    assert not user_with_traces.has_usable_password()
    assert user_with_traces.profile_image.name == ""


@pytest.mark.django_db(transaction=True)
def test_the_picture_file_is_deleted_on_commit(user_with_traces):
    sue = make_user("sue", is_staff=True, is_superuser=True)
    name = user_with_traces.profile_image.name
    assert default_storage.exists(name)
    erase(user_with_traces, Author(sue))
    assert not default_storage.exists(name)


def test_an_erased_user_cannot_be_restored(user_with_traces, sue):
    erase(user_with_traces, Author(sue))
    user_with_traces.refresh_from_db()
    with pytest.raises(ValidationError, match="erased"):
        user_with_traces.restore()
    with pytest.raises(ValidationError, match="erased"):
        User.objects.filter(pk=user_with_traces.pk).restore()


def test_restoring_a_user_who_was_just_erased_is_an_error(alice, sue):
    alice.delete()
    erase(User.objects.get(pk=alice.pk), Author(sue))
    # Loaded before it was erased.
    assert alice.erased_at is None
    with pytest.raises(ValidationError, match="An erased user can't be restored"):
        alice.restore()
    assert User.objects.get(pk=alice.pk).state == "erased"


def test_a_deleted_user_can_be_erased_once(alice, sue):
    alice.delete()
    deleted_at = alice.deleted_at
    erase(alice, Author(sue))
    alice.refresh_from_db()
    first = (alice.erased_at, LogEntry.objects.count())
    erase(alice, Author(sue))
    alice.refresh_from_db()
    assert (alice.erased_at, LogEntry.objects.count()) == first
    assert alice.deleted_at == deleted_at


def test_history_of_another_user_with_the_same_name_is_kept(alice, sue):
    alice.delete()
    other = make_user("alice")
    Author(sue).record(other, CHANGE, note="Hello “alice”.")
    erase(alice, Author(sue))
    other.refresh_from_db()
    assert other.username == "alice"
    assert history(other)[0].summary == "Hello “alice”."


def test_the_last_superuser_cannot_be_erased(sue):
    with pytest.raises(ValidationError, match="last superuser"):
        erase(sue, Author(sue))
    sue.refresh_from_db()
    assert sue.username == "sue"


# --- The page


def test_a_superuser_has_to_enter_the_username(staff_client, alice):
    make_key(alice)
    page = staff_client.get(f"/users/{alice.pk}/erase/").content.decode()
    assert "1 API key will be revoked, and" in page
    wrong = staff_client.post(f"/users/{alice.pk}/erase/", {"username": "Alice"})
    assert "That isn't this user's username" in wrong.context["form"].errors["username"][0]
    assert wrong.context["form"]["username"].value() == "Alice"
    done = staff_client.post(f"/users/{alice.pk}/erase/", {"username": "alice"}, follow=True)
    assert messages(done) == ["Personal data erased."]
    assert "Erased" in done.content.decode()
    again = staff_client.post(f"/users/{alice.pk}/erase/", {"username": "alice"}, follow=True)
    assert messages(again) == [f"Nothing to do: user “erased_{alice.pk}” is erased."]


def test_staff_who_are_not_superusers_cannot_erase(alice):
    client = signed_in(make_staff("steve", *ALL_USER_PERMISSIONS))
    assert client.get(f"/users/{alice.pk}/erase/").status_code == 403
    assert client.post(f"/users/{alice.pk}/erase/", {"username": "alice"}).status_code == 403
    alice.refresh_from_db()
    assert alice.erased_at is None


def test_superusers_cannot_erase_themselves(staff_client, sue):
    make_user("sam", is_staff=True, is_superuser=True)
    assert staff_client.post(f"/users/{sue.pk}/erase/", {"username": "sue"}).status_code == 403


# --- The command


def command(*args):
    out = io.StringIO()
    call_command("erase_user", *args, stdout=out)
    return out.getvalue()


def test_the_command_supports_a_dry_run(alice):
    make_key(alice)
    assert "Would erase user" in command("alice", "--dry-run")
    alice.refresh_from_db()
    assert alice.erased_at is None
    assert "and revoked 1 key." in command("alice", "--yes")
    alice.refresh_from_db()
    assert alice.erased_at
    assert history(alice)[0].via == "manage.py erase_user"
    assert "is already erased" in command(str(alice.pk), "--yes")


@pytest.mark.parametrize(("typed", "erased"), [("alice", True), ("bob", False), ("", False)])
def test_the_command_asks_for_the_username_on_a_terminal(alice, monkeypatch, typed, erased):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _prompt: typed)
    if erased:
        command("alice")
    else:
        with pytest.raises(CommandError, match="Nothing was erased"):
            command("alice")
    alice.refresh_from_db()
    assert bool(alice.erased_at) is erased


def test_the_command_does_not_ask_without_a_terminal(alice):
    command("alice")
    alice.refresh_from_db()
    assert alice.erased_at


def test_the_command_finds_deleted_users_by_name_or_id(alice, bob):
    alice.delete()
    bob.delete()
    command("ALICE", "--yes")
    command(str(bob.pk), "--yes")
    assert User.objects.filter(erased_at__isnull=False).count() == 2


def test_the_command_lists_the_ids_of_several_deleted_users(alice):
    alice.delete()
    twin = make_user("alice")
    twin.delete()
    with pytest.raises(CommandError, match=f"{alice.pk}|{twin.pk}"):
        command("alice", "--yes")


@pytest.mark.parametrize("name", ["nobody", "999999999999999999999", "", "１", "al\udcff", "al\0"])
def test_the_command_rejects_an_unknown_user(db, name):
    with pytest.raises(CommandError, match="There is no user"):
        command(name)


def test_the_command_refuses_to_erase_the_last_superuser(sue):
    with pytest.raises(CommandError, match="last superuser"):
        command("sue", "--yes")


def test_erasing_keeps_numbers_and_booleans_in_history_entries(user_with_traces, sue):
    entry = Author(sue).record(user_with_traces, CHANGE)
    entry.change_message = '[{"changed": {"count": 3, "done": true, "by": ["alice_w", 7]}}]'
    entry.save()
    erase(user_with_traces, Author(sue))
    entry.refresh_from_db()
    assert json.loads(entry.change_message) == [{"changed": {"count": 3, "done": True, "by": ["(erased)", 7]}}]
