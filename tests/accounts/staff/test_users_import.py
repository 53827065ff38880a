"""/users/import/: the preview, the import, and the permissions it requires."""

from __future__ import annotations

from io import BytesIO

import openpyxl
import pytest
from django.core import mail
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError

from accounts.models import User
from accounts.staff import import_views, imports
from config.base import import_forms
from tests.accounts.people import history, messages, signed_in
from tests.pages import fields_of, text_of
from tests.rows import make_staff

pytestmark = pytest.mark.django_db
URL = "/users/import/"


def upload(client, text, name="users.csv", **data):
    content = text if isinstance(text, bytes) else text.encode()
    return client.post(URL, {"file": SimpleUploadedFile(name, content), **data})


SKIP = {"import": "valid"}


def confirm(client, preview, **changes):
    fields = fields_of(preview.content.decode(), "sealed")
    return client.post(URL, fields | {"import": "all"} | changes)


def test_a_file_is_previewed_and_then_imported(staff_client, alice, pro):
    assert f'href="{URL}"' in text_of(staff_client.get("/users/"))
    preview = upload(
        staff_client, "username,email,tier,is_staff\nada,ada@example.com,pro,yes\nalice,,pro,yes\nsue,,,\n"
    )
    page = text_of(preview)
    for words in (
        "1 user will be created.", "1 user will be changed.", "1 user won't change.", "Ignored columns: is_staff",
        "Import 2 users", "ada@example.com", "free</del> → <ins>pro</ins>",
    ):  # fmt: skip
        assert words in page
    assert User.objects.count() == 2
    response = confirm(staff_client, preview)
    assert response["Location"] == "/users/"
    assert messages(staff_client.get("/users/")) == ["1 user created and 1 changed."]
    ada = User.objects.get(username="ada")
    assert (ada.tier, ada.is_staff, history(ada)[0].via) == (pro, False, "import")
    assert mail.outbox == []


def test_an_xlsx_file_can_be_imported_and_invitations_sent(staff_client):
    book, content = openpyxl.Workbook(), BytesIO()
    for row in (["Username", "Email"], ["ada", "ada@example.com"]):
        book.active.append(row)
    book.save(content)
    confirm(staff_client, upload(staff_client, content.getvalue(), "users.xlsx"), invite="on")
    [message] = mail.outbox
    assert message.to == ["ada@example.com"]
    assert "http://testserver/accounts/password/reset/key/" in message.body


def test_rows_with_errors_stop_the_import_until_they_are_skipped(staff_client):
    preview = upload(staff_client, "username,email\nada,ada@example.com\nBob,bob@example.com\n")
    assert "1 row can't be imported" in text_of(preview)
    assert "Skip 1 row and import 1 user" in text_of(preview)
    response = confirm(staff_client, preview)
    assert "Nothing was imported, because some rows have errors." in text_of(response)
    assert not User.objects.filter(username="ada").exists()
    confirm(staff_client, response, **SKIP)
    assert set(User.objects.values_list("username", flat=True)) == {"sue", "ada"}


def test_an_invalid_column_is_a_form_error(staff_client):
    preview = upload(staff_client, "username,email\nada,ada@example.com\n")
    assert "Select a valid choice." in text_of(confirm(staff_client, preview, column_email="99"))
    assert "Select a valid choice." in text_of(confirm(staff_client, preview, column_username="x"))
    assert not User.objects.filter(username="ada").exists()


def test_unrecognized_columns_can_be_assigned(staff_client):
    preview = upload(staff_client, "who,mail address,full\nada,ada@example.com,Ada\n")
    assert "There is no column for usernames. Choose one." in text_of(preview)
    assert "will be created" not in text_of(preview)
    chosen = {"column_username": "0", "column_email": "1", "column_name": ""}
    preview = confirm(staff_client, preview, **chosen)
    assert "Something has changed since this preview." in text_of(preview)
    preview = staff_client.post(URL, fields_of(preview.content.decode(), "sealed") | {"preview": "1"})
    assert "Something has changed" not in text_of(preview)
    confirm(staff_client, preview)
    assert User.objects.get(username="ada").email == "ada@example.com"


def test_users_changed_since_the_preview_are_previewed_again(staff_client, alice):
    preview = upload(staff_client, "username,name\nalice,Alicia\n")
    User.objects.filter(pk=alice.pk).update(name="Alina")
    response = confirm(staff_client, preview)
    assert "Something has changed since this preview." in text_of(response)
    assert "Alina</del>" in text_of(response)
    assert confirm(staff_client, response).status_code == 302


def test_a_conflict_is_retried(staff_client, monkeypatch):
    def fail_once(lines, author):
        monkeypatch.undo()
        raise IntegrityError

    monkeypatch.setattr(imports, "create", fail_once)
    assert confirm(staff_client, upload(staff_client, "username,email\nada,ada@example.com\n")).status_code == 302
    assert User.objects.filter(username="ada").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "This file is empty."),
        (b"\x89PNG\0", "This isn&#x27;t a CSV or XLSX file."),
        ("username,name\nzoe,Zoë\n".encode("latin-1"), "Line 2 isn&#x27;t in the encoding you chose."),
        ("username\n", "This file has a header, but no rows."),
    ],
)
def test_an_unreadable_file_is_a_field_error(staff_client, text, problem):
    response = upload(staff_client, text)
    assert response.status_code == 200
    assert problem in text_of(response)


def test_a_file_is_read_in_the_chosen_encoding(staff_client):
    assert "Zoë" in text_of(upload(staff_client, "username,name\nsue,Zoë\n".encode("latin-1"), encoding="cp1252"))


def test_a_missing_file_or_unknown_encoding_is_a_field_error(staff_client):
    assert "Choose a file." in text_of(staff_client.post(URL))
    assert "Select a valid choice." in text_of(upload(staff_client, "username\nada\n", encoding="ebcdic"))


def test_an_expired_or_forged_preview_asks_for_the_file_again(staff_client):
    response = staff_client.post(URL, {"sealed": "forged", "import": "1"}, follow=True)
    assert messages(response) == ["This preview has expired. Choose the file again."]


def test_a_file_too_large_to_preview_is_rejected(staff_client, monkeypatch):
    monkeypatch.setattr(import_forms, "MAX_SEALED_LENGTH", 10)
    assert "This file is too large to preview." in text_of(upload(staff_client, "username\nada\n"))


def test_too_many_emails_are_rejected(staff_client, monkeypatch):
    monkeypatch.setattr(import_views, "MAX_EMAILS", 1)
    preview = upload(staff_client, "username,email\nada,ada@example.com\nbob,bob@example.com\n")
    response = confirm(staff_client, preview, invite="on")
    assert "This import would send 2 emails" in text_of(response)
    assert not User.objects.filter(username="ada").exists()


def test_long_previews_are_truncated(staff_client, monkeypatch):
    monkeypatch.setattr("config.base.import_views.MAX_LISTED", 1)
    page = text_of(upload(staff_client, "username,email\na1,a1@x.org\nb1,b1@x.org\nC,c@x.org\nD,d@x.org\n"))
    assert "and 1 other user" in page
    assert "and 1 other error" in page


# --- Permissions


FILE = "username,email,name\nfresh,fresh@example.com,Fresh\nalice,,Alicia\n"


@pytest.mark.parametrize(
    ("permissions", "problems"),
    [
        (("view_user", "add_user"), ["You don&#x27;t have permission to edit users."]),
        (("view_user", "change_user"), ["you don&#x27;t have permission to create users."]),
        (("view_user", "add_user", "change_user"), []),
    ],
)
def test_importing_requires_the_permissions_to_add_and_change_users(alice, permissions, problems):
    client = signed_in(make_staff("steve", *permissions))
    preview = upload(client, FILE)
    assert [words for words in problems if words not in text_of(preview)] == []
    confirm(client, preview)
    assert User.objects.filter(name__in=["Fresh", "Alicia"]).count() == (0 if problems else 2)


@pytest.mark.parametrize("permissions", [("view_user",), ("add_user", "change_user")])
def test_the_page_requires_permission(alice, permissions):
    assert signed_in(make_staff("steve", *permissions)).get(URL).status_code == 403
    assert f'href="{URL}"' not in text_of(signed_in(make_staff("olga", "view_user")).get("/users/"))


@pytest.mark.parametrize("target", ["sue", "steve", "other"])
def test_staff_cannot_change_staff_or_superusers_by_importing(sue, target):
    make_staff("other")
    client = signed_in(make_staff("steve", "view_user", "add_user", "change_user"))
    preview = upload(client, f"username,name\n{target},Mallory\n")
    assert "Only superusers can change" in text_of(preview)
    confirm(client, preview)
    confirm(client, preview, **SKIP)
    assert not User.objects.filter(name="Mallory").exists()


def test_staff_cannot_change_addresses_by_importing(alice):
    client = signed_in(make_staff("steve", "view_user", "add_user", "change_user"))
    preview = upload(client, "username,email\nalice,steve2@example.com\n")
    assert "Only superusers can change another user&#x27;s address" in text_of(preview)
    confirm(client, preview, **SKIP)
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


def test_superusers_can_change_staff_but_not_their_own_address(staff_client, sue):
    make_staff("other")
    confirm(staff_client, upload(staff_client, "username,name\nother,Renamed\n"))
    assert User.objects.get(username="other").name == "Renamed"
    assert "your own only on your account pages" in text_of(
        upload(staff_client, "username,email\nsue,new@example.com\n")
    )


def test_a_changed_address_is_emailed_to_both_addresses(staff_client, alice):
    preview = upload(staff_client, "username,email\nalice,alicia@example.com\n")
    assert "1 email address will change" in text_of(preview)
    confirm(staff_client, preview)
    assert [message.to for message in mail.outbox] == [["alice@example.com"], ["alicia@example.com"]]


def test_the_preview_escapes_text(staff_client):
    page = upload(staff_client, "username,email,<b>x\nada,ada@example.com,\n<script>,x@example.com,\n").content.decode()
    assert "<script>," not in page
    assert "&lt;script&gt;" in page or "Use only lowercase" in page
    assert "<b>x" not in page
