"""Every list can be exported with its filters as CSV, XLSX and JSON, with the permission to view the list."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from uuid import UUID

import openpyxl
import pytest

from accounts.models import User
from apikeys.models import APIKey
from config.base import export as base_export
from config.base.export import json_lines, xlsx_file
from config.base.history import CHANGE, Author
from ratelimits.models import RateLimit
from tests.accounts.people import make_event, messages, signed_in
from tests.pages import text_of
from tests.rows import make_key, make_limit, make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db
# For each list: the URL of its export, and the permission to view it.
LISTS = {
    "/users/": ("/users/export.{}", "accounts.view_user"),
    "/admin/accounts/user/?o=": ("/admin/accounts/user/export/?format={}", "accounts.view_user"),
    "/admin/tiers/tier/": ("/admin/tiers/tier/export/?format={}", "tiers.view_tier"),
    "/admin/ratelimits/ratelimit/": ("/admin/ratelimits/ratelimit/export/?format={}", "ratelimits.view_ratelimit"),
    "/admin/apikeys/apikey/": ("/admin/apikeys/apikey/export/?format={}", "apikeys.view_apikey"),
    "/admin/usage/requests/": ("/admin/usage/requests/?format={}", "apikeys.view_keyusage"),
    "/admin/usage/": ("/admin/usage/?format={}", "apikeys.view_keyusage"),
    "/admin/admin/logentry/": ("/admin/admin/logentry/export/?format={}", "admin.view_logentry"),
}
HOSTILE = "\u3000=Zoë\x0b1"


@pytest.fixture
def rows(alice, bob, free):
    key = make_key(alice, "first key")
    make_event(key)
    make_limit(free, name="a limit")
    Author(bob).record(alice, CHANGE, note="Hello.")
    User.objects.filter(pk=alice.pk).update(name=HOSTILE)
    Tier.objects.filter(pk=free.pk).update(name=HOSTILE)
    RateLimit.objects.update(name=HOSTILE)
    APIKey.objects.update(name=HOSTILE)


def table_of(response, file_format):
    """The header, and the rows as text."""
    content = response.getvalue()
    if file_format == "xlsx":
        lines = openpyxl.load_workbook(io.BytesIO(content)).active.iter_rows(values_only=True)
        header, *found = [["" if value is None else str(value) for value in line] for line in lines]
        return header, found
    if file_format == "csv":
        header, *found = csv.reader(io.StringIO(content.decode("utf-8-sig")))
        return header, found
    records = json.loads(content)
    return list(records[0]), [[str(value) for value in record.values()] for record in records]


@pytest.mark.parametrize("page", LISTS)
@pytest.mark.parametrize("file_format", ["csv", "xlsx", "json"])
@pytest.mark.usefixtures("rows")
def test_every_list_can_be_exported_in_every_format(client, sue, page, file_format):
    client.force_login(sue)
    url, _ = LISTS[page]
    response = client.get(url.format(file_format))
    assert response.streaming
    assert response["Content-Disposition"].endswith(f'.{file_format}"')
    assert "no-store" in response["Cache-Control"]
    header, found = table_of(response, file_format)
    assert len({len(header), *map(len, found)}) == 1
    with_csv = table_of(client.get(url.format("csv")), "csv")
    assert len(found) == len(with_csv[1])
    cells = [cell for row in found for cell in row]
    if file_format != "json":
        assert not any(cell.strip("\u3000 ").startswith("=") for cell in cells)


@pytest.mark.parametrize("page", LISTS)
@pytest.mark.usefixtures("rows")
def test_the_export_menu_links_to_each_format_with_the_filters(staff_client, page):
    html = text_of(staff_client.get(f"{page}{'&' if '?' in page else '?'}q=zoe"))
    for name, label in (("csv", "CSV"), ("xlsx", "Excel (XLSX)"), ("json", "JSON")):
        address = next(part for part in html.split('<a href="') if part.partition(">")[2].startswith(f"{label}</a>"))
        assert name in address
        assert "q=zoe" in address.partition('"')[0]


@pytest.mark.parametrize("page", LISTS)
@pytest.mark.parametrize("file_format", ["csv", "xlsx", "json"])
def test_exports_require_the_permission_to_view_the_list(page, file_format, free):
    url, permission = LISTS[page]
    others = {permission for _, permission in LISTS.values()} - {permission}
    assert signed_in(make_staff("other", *others)).get(url.format(file_format)).status_code == 403
    response = signed_in(make_staff("viewer", permission)).get(url.format(file_format))
    assert response.status_code == 200
    response.getvalue()


@pytest.mark.usefixtures("rows")
def test_exports_are_filtered(staff_client):
    for url in ("/users/export.{}?q=bob", "/admin/accounts/user/export/?q=bob&format={}"):
        for file_format in ("csv", "xlsx", "json"):
            header, found = table_of(staff_client.get(url.format(file_format)), file_format)
            assert [row[header.index("username")] for row in found] == ["bob"]


@pytest.mark.usefixtures("rows")
def test_users_can_export_their_own_requests_and_usage(alice, bob):
    for file_format in ("csv", "xlsx", "json"):
        for url in ("/account/usage/requests/", "/account/usage/"):
            _, found = table_of(signed_in(alice).get(url, {"format": file_format}), file_format)
            assert len(found) == 1
            content = signed_in(bob).get(url, {"format": file_format}).getvalue()
            assert file_format == "xlsx" or HOSTILE[1:] not in content.decode()


@pytest.mark.parametrize("url", ["/users/export.xml", "/users/export.", "/admin/tiers/tier/export/?format=xml"])
def test_unknown_formats_are_rejected(staff_client, url):
    assert staff_client.get(url).status_code in {400, 404}


def test_unknown_formats_in_the_query_show_the_page(staff_client):
    assert "text/html" in staff_client.get("/admin/usage/requests/?format=xml")["Content-Type"]
    assert staff_client.get("/admin/tiers/tier/?format=xlsx").status_code == 200


@pytest.mark.parametrize(
    ("url", "back"),
    [
        ("/users/export.xlsx?q=example", "/users/?q=example"),
        ("/admin/tiers/tier/export/?state=all&format=xlsx", "/admin/tiers/tier/?state=all"),
        ("/admin/usage/requests/?format=xlsx&verdict=allowed", "/admin/usage/requests/?verdict=allowed"),
    ],
)
@pytest.mark.usefixtures("rows")
def test_too_many_rows_for_xlsx_redirect_with_a_message(staff_client, monkeypatch, url, back, pro):
    make_event(APIKey.objects.get())
    monkeypatch.setattr(base_export, "MAX_XLSX_ROWS", 1)
    response = staff_client.get(url)
    assert response["Location"] == back
    page = staff_client.get(back)
    assert messages(page) == ["XLSX files can have up to 1 rows. Filter the list, or export it as CSV or JSON."]


def test_json_keeps_types_and_is_generated_row_by_row():
    key = UUID(int=7)
    row = [1, None, True, "=a", datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC), key, {"a": [1]}]
    titles = ["ID", "email address", "active", "name", "last sign-in", "key", "metadata"]
    taken = []
    lines = json_lines(titles, (taken.append(number) or row for number in range(3)))
    next(lines)
    assert len(taken) == 1
    assert json.loads("".join(json_lines(titles, [row, row])))[1] == {
        "id": 1,
        "email_address": None,
        "active": True,
        "name": "=a",
        "last_sign_in": "2026-01-02T03:04:05+00:00",
        "key": str(key),
        "metadata": {"a": [1]},
    }
    assert json.loads("".join(json_lines(titles, []))) == []


def test_xlsx_keeps_numbers_and_drops_invalid_characters(rf):
    response = xlsx_file(rf.get("/"), ["name", "number"], [["a\x00\x0b\x1fb", 5], ["+1", None]])
    sheet = openpyxl.load_workbook(io.BytesIO(response.getvalue())).active
    response.close()
    assert list(sheet.values) == [("name", "number"), ("ab", 5), ("'+1", None)]
    assert all(cell.data_type != "f" for row in sheet for cell in row)
