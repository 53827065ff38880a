"""manage.py import_users, and what an import creates and changes."""

from __future__ import annotations

import io
from io import StringIO

import pytest
from allauth.account.models import EmailAddress
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import IntegrityError

from accounts.models import User
from accounts.staff import imports
from tests.accounts.people import history

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(tmp_path, free):
    """run(text) imports a file with this text and returns the output. `run.errors` has the errors."""

    def command(text, *options):
        file = tmp_path / "users.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        out, err = StringIO(), StringIO()
        try:
            call_command("import_users", str(file), *options, stdout=out, stderr=err)
        finally:
            command.errors = err.getvalue().splitlines()
        return out.getvalue()

    return command


def test_new_users_are_created_without_a_password(run, pro):
    run("User name;E-mail;Full name;Plan\nzoe;ZOE@Example.com;Zoë Ø;pro\nbob;bob@example.com;;\n")
    zoe, bob = User.objects.get(username="zoe"), User.objects.get(username="bob")
    assert (zoe.name, zoe.email, zoe.tier, zoe.name_folded) == ("Zoë Ø", "zoe@example.com", pro, "zoë ø")
    assert (bob.name, bob.tier.name) == ("bob", "free")
    assert not zoe.has_usable_password()
    assert EmailAddress.objects.filter(user=zoe, email="zoe@example.com", primary=True, verified=False).exists()
    [entry] = history(zoe)
    assert (entry.summary, entry.via) == ("Imported.", "manage.py import_users")
    assert {"field": "tier", "old": "–", "new": "pro"} in entry.values
    assert mail.outbox == []


def test_existing_users_are_changed_by_cells_that_are_not_empty(run, alice, bob, pro):
    User.objects.filter(pk=alice.pk).update(updated_at="2020-01-01T00:00Z")
    printed = run("username,email,name,tier\nalice,,Alice Liddell,pro\nbob,bob@example.com,,free\n")
    alice.refresh_from_db()
    assert (alice.name, alice.tier, alice.email, alice.updated_at.year > 2020) == (
        "Alice Liddell", pro, "alice@example.com", True,
    )  # fmt: skip
    assert history(alice)[0].values == [
        {"field": "name", "old": "Alice", "new": "Alice Liddell"},
        {"field": "tier", "old": "free", "new": "pro"},
    ]
    assert history(bob) == []
    assert "0 users to create, 1 to change, 1 unchanged" in printed


def test_a_dry_run_shows_the_changes_and_writes_nothing(run, alice):
    printed = run("username,email,name\nnew,new@example.com,New\nalice,,Alicia\n", "--dry-run")
    assert "row 2, create new: username: – → new" in printed
    assert "row 3, change alice: name: Alice → Alicia" in printed
    assert "1 user to create, 1 to change, 0 unchanged" in printed
    assert "Nothing was imported." in printed
    assert list(User.objects.values_list("name", flat=True)) == ["Alice"]


BAD = """username,email,name,tier
good,good@example.com,Good,free
Bad Name,bad@example.com,,
nomail,,,
broken,not an address,,
alice,bob@example.com,,
fresh,bob@example.com,,
good,other@example.com,,
twin,GOOD@example.com,,
lost,lost@example.com,,gold
sum,sum@example.com,=1+1,
,nobody@example.com,,
hidden,hidden@example.com,a\u202eb,
"""


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
def test_errors_name_the_row_and_column_and_stop_the_import(run, alice, bob, options):
    with pytest.raises(CommandError, match="11 rows with errors"):
        run(BAD, *options)
    assert run.errors == [
        "row 3, username: Use only lowercase letters a to z, digits and underscores.",
        "row 4, email: This cell is empty.",
        "row 5, email: Enter a valid email address.",
        "row 6, email: Another user has this email address.",
        "row 7, email: “bob@example.com” is also in row 6.",
        "row 7, email: Another user has this email address.",
        "row 8, username: “good” is also in row 2.",
        "row 9, email: “good@example.com” is also in row 2.",
        "row 10, tier: There is no tier “gold”.",
        "row 11, name: This is a formula. Enter its result instead.",
        "row 12, username: This cell is empty.",
        "row 13, name: Remove the control or invisible character U+202E.",
    ]
    assert User.objects.count() == 2


def test_rows_with_errors_can_be_skipped(run, alice, bob):
    assert "1 user to create, 0 to change" in run(BAD, "--skip-invalid")
    assert "1 user to create, 0 to change" not in run(BAD, "--skip-invalid", "--dry-run")
    assert User.objects.filter(username="good").exists()


def test_long_lists_of_errors_are_truncated(run, monkeypatch):
    monkeypatch.setattr("accounts.management.commands.import_users.MAX_SHOWN", 1)
    with pytest.raises(CommandError):
        run("username\na\nb\nc\n")
    assert len(run.errors) == 2
    assert run.errors[1].startswith("and ")


def test_quotes_added_by_an_export_are_removed(run):
    run("username,email,name\nada,ada@example.com,'-Ada\n")
    assert User.objects.get(username="ada").name == "-Ada"


def test_staff_flags_in_a_file_are_ignored(run):
    run("username,email,is_staff,is_superuser\nada,ada@example.com,true,true\n")
    ada = User.objects.get(username="ada")
    assert (ada.is_staff, ada.is_superuser) == (False, False)


def test_columns_can_be_assigned(run):
    run("id,contact\nada,ada@example.com\n", "--column", "username=id", "--column", "email=contact")
    assert User.objects.get(username="ada").email == "ada@example.com"


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        ("id,email\nada,a@example.com\n", (), "There is no column for usernames"),
        ("username\nada\n", ("--column", "password=username"), "give one of username, email"),
        ("username\nada\n", ("--column", "email=mail"), "one of the headers username"),
        ("username\nada\n", ("--host", "evil.example"), "isn't in ALLOWED_HOSTS"),
        (b"username\n\xff\n", (), "Line 2 isn't in the encoding"),
    ],
)
def test_invalid_files_and_options_are_errors(run, text, options, problem):
    with pytest.raises(CommandError, match=problem):
        run(text, *options)


def test_a_missing_file_is_an_error(db):
    with pytest.raises(CommandError, match=r"Couldn't read .*: No such file"):
        call_command("import_users", "/nowhere/users.csv")


def test_a_large_file_is_an_error(run, monkeypatch):
    monkeypatch.setattr("accounts.management.commands.import_users.MAX_FILE_SIZE", 2**20)
    with pytest.raises(CommandError, match=r"users.csv is too large\. A file can have up to 1 MB\."):
        run("username\n" + "x" * 2**20)


def test_users_can_be_read_from_standard_input(db, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"username,name,email\nada,Ada,ada@example.com\n")))
    call_command("import_users", "-")
    assert User.objects.get().username == "ada"


def test_invitations_are_only_sent_with_an_option_and_require_a_host(run, settings):
    settings.ALLOWED_HOSTS = ["gate.example.com"]
    text = "username,email\nada,ada@example.com\n"
    with pytest.raises(CommandError, match="sends 1 email: set SITE_URL or add --host"):
        run(text, "--invite")
    assert not User.objects.exists()
    run(text, "--invite", "--host", "gate.example.com")
    [message] = mail.outbox
    assert message.to == ["ada@example.com"]
    assert "http://gate.example.com/accounts/password/reset/key/" in message.body


def test_links_use_site_url_without_a_host_option(run, settings):
    settings.ALLOWED_HOSTS, settings.SITE_URL = ["gate.example.com"], "https://gate.example.com"
    run("username,email\nada,ada@example.com\n", "--invite")
    assert "https://gate.example.com/accounts/password/reset/key/" in mail.outbox[0].body
    assert "\nGatehouse at gate.example.com" in mail.outbox[0].body


def test_a_changed_address_is_unverified_and_both_addresses_are_notified(run, settings, alice):
    settings.ALLOWED_HOSTS = ["gate.example.com"]
    EmailAddress.objects.create(user=alice, email="pending@example.com")
    run("username,email\nalice,alicia@example.com\n", "--host", "gate.example.com")
    assert list(EmailAddress.objects.values_list("email", "primary", "verified")) == [
        ("alicia@example.com", True, False)
    ]
    assert [message.to for message in mail.outbox] == [["alice@example.com"], ["alicia@example.com"]]


def test_a_conflict_imports_nothing(run, monkeypatch):
    def fail(*args):
        raise IntegrityError

    monkeypatch.setattr(imports, "create", fail)
    with pytest.raises(CommandError, match="Nothing was imported"):
        run("username,email\nada,ada@example.com\n")


def test_the_number_of_queries_does_not_grow_with_rows(run, alice, django_assert_max_num_queries):
    def lines(count):
        return "username,email\n" + "".join(f"u{number},u{number}@example.com\n" for number in range(count))

    run("username,email\nfirst,first@example.com\n")
    with django_assert_max_num_queries(40):
        run(lines(200))
