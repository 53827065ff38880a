"""/admin/ratelimits/import/: tiers and rate limits from a CSV or XLSX file."""

from __future__ import annotations

from io import BytesIO

import openpyxl
import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from config.base import import_forms
from ratelimits.models import RateLimit
from ratelimits.plans import import_views
from tests.pages import forms_in, text_of
from tests.rows import make_limit, make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db

URL = "/admin/ratelimits/import/"
PLANS = """tier,description,max_keys,path,method,limit,period,window,overall,name
gold,For partners,5,/orders/*,GET,1000,60,,,gold-orders
gold,,,/*,,100000,,month,yes,gold-all
silver,Small,,,,,,,,
"""


def upload(client, text=PLANS, name="plans.csv", **data):
    content = text if isinstance(text, bytes) else text.encode()
    return client.post(URL, {"file": SimpleUploadedFile(name, content), "encoding": "utf-8", **data})


def submit(client, response, **changes):
    fields = next(form.sent for form in forms_in(response.content.decode(), URL) if "sealed" in form.sent)
    return client.post(URL, fields | changes)


def errors(response):
    return [tuple(problem) for problem in response.context["problems"]]


def test_preview_shows_changes_and_makes_none(staff_client, free):
    response = upload(staff_client)
    page = text_of(response)
    assert "+ tier gold: description: For partners, keys per user: 5" in page
    assert "+ rate limit gold-orders of gold" in page
    assert "Import 4 changes" in page
    assert set(Tier.objects.all()) == {free}
    assert not RateLimit.objects.exists()
    assert not LogEntry.objects.exists()


def test_import_creates_tiers_and_rate_limits(staff_client, sue):
    response = submit(staff_client, upload(staff_client), **{"import": "all"})
    assert response["Location"] == "/admin/tiers/tier/"
    gold, silver = Tier.objects.get(name="gold"), Tier.objects.get(name="silver")
    assert (gold.description, gold.max_keys, silver.description) == ("For partners", 5, "Small")
    limits = {limit.name: limit for limit in RateLimit.objects.filter(tier=gold)}
    assert (limits["gold-orders"].method, limits["gold-orders"].limit, limits["gold-orders"].period) == (
        "GET",
        1000,
        60,
    )
    assert (limits["gold-all"].window, limits["gold-all"].overall) == ("month", True)
    assert {entry.user for entry in LogEntry.objects.all()} == {sue}
    assert "4 changes imported." in text_of(staff_client.get("/admin/tiers/tier/"))
    assert "Nothing. Everything in the file already exists." in text_of(upload(staff_client))


def test_import_changes_existing_limits_and_keeps_others(staff_client, free):
    limit = make_limit(free, "/orders/*", limit=10, name="orders", period=60)
    kept = make_limit(free, "/reports/*", limit=3)
    text = "tier,name,path,limit,period\nfree,orders,/orders/*,20,60\n"
    response = upload(staff_client, text)
    assert "~ rate limit orders of free: limit: 10 → 20" in text_of(response)
    submit(staff_client, response, **{"import": "all"})
    limit.refresh_from_db()
    kept.refresh_from_db()
    assert (limit.limit, kept.limit, kept.deleted_at) == (20, 3, None)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (",x,/a,1", (2, "Plan", "This cell is empty.")),
        ("gold,x,/a,-1", (2, "Requests", "Enter 1 or more.")),
        ("gold,x,/a,many", (2, "Requests", "Enter a whole number.")),
        ("gold,x,/a,", (2, "–", "“limit” is missing.")),
        ("gold,x,,5", (2, "–", "“path” is missing.")),
        ("gold,x,=A1,5", (2, "Path", "This is a formula. Enter its result instead.")),
        ('gold,x,"/a/*/b",5', None),
        ("gold,x,/a,99999999999999999999999", None),
        ("x" + "x" * 50 + ",x,/a,5", None),
    ],
)
def test_errors_have_row_and_column(staff_client, row, expected):
    response = upload(staff_client, f"Plan,Name,Path,Requests\n{row}\nsilver,,,\n")
    assert errors(response)[0][0] == 2
    if expected:
        assert errors(response) == [expected]
    assert "Import 1" not in text_of(response)
    assert "Nothing was imported" in text_of(submit(staff_client, response, **{"import": "all"}))
    assert not Tier.objects.filter(name="silver").exists()


def test_conflicting_or_repeated_rows_are_errors(staff_client):
    text = "tier,max keys,name,path,limit\ngold,5,a,/a,1\ngold,6,b,/b,1\n"
    assert errors(upload(staff_client, text)) == [(3, "max keys", "Row 2 has another value for this tier.")]
    text = "tier,max keys,name,path,limit\ngold,5,a,/a,1\ngold,5,b,/b,1\n"
    assert "Import 3 changes" in text_of(upload(staff_client, text))
    text = "tier,name,path,limit\ngold,a,/a,1\ngold,a,/b,1\n"
    assert errors(upload(staff_client, text)) == [(3, "name", "“a” is given twice, first on line 2.")]
    text = "tier,name,path,limit,overall\ngold,a,/a,1,perhaps\n"
    assert errors(upload(staff_client, text)) == [(2, "overall", "Enter true or false.")]


def test_number_of_listed_errors_is_limited(staff_client, monkeypatch):
    monkeypatch.setattr("config.base.import_views.MAX_LISTED", 2)
    response = upload(staff_client, "tier,path,limit\n" + "gold,/a,x\n" * 5)
    assert len(errors(response)) == 2
    assert "and 3 other errors" in text_of(response)
    assert "and 2 other changes" in text_of(upload(staff_client))


def test_columns_can_be_chosen_and_others_ignored(staff_client):
    response = upload(staff_client, "Kind,What,Note\ngold,For partners,x\n")
    page = text_of(response)
    assert "There is no column for tiers. Choose one." in page
    response = submit(staff_client, response, column_tier="0", column_description="1", preview="1")
    assert "+ tier gold: description: For partners" in text_of(response)
    assert "Ignored columns: Note" in text_of(response)
    submit(staff_client, response, **{"import": "all"})
    assert Tier.objects.get(name="gold").description == "For partners"


def test_import_is_previewed_again_after_other_changes(staff_client):
    response = upload(staff_client)
    Tier.objects.create(name="gold")
    response = submit(staff_client, response, **{"import": "all"})
    assert "Something has changed since this preview. Check it again." in text_of(response)
    assert "~ tier gold" in text_of(response)
    assert not Tier.objects.filter(name="silver").exists()


def test_invalid_file_or_expired_preview_is_an_error(staff_client, monkeypatch):
    assert "This isn&#x27;t a CSV or XLSX file." in upload(staff_client, b"\0\0").content.decode()
    assert "Choose a file." in staff_client.post(URL, {"encoding": "utf-8"}).content.decode()
    response = upload(staff_client)
    monkeypatch.setattr(import_forms, "MAX_AGE", -1)
    assert submit(staff_client, response)["Location"] == URL
    assert staff_client.post(URL, {"sealed": "forged"})["Location"] == URL
    invalid = submit(staff_client, upload(staff_client), column_tier="99", **{"import": "all"})
    assert invalid.status_code == 302
    monkeypatch.undo()
    invalid = submit(staff_client, upload(staff_client), column_tier="99", **{"import": "all"})
    assert "Select a valid choice." in text_of(invalid)


def test_xlsx_file_can_be_imported(staff_client):
    book, file = openpyxl.Workbook(), BytesIO()
    book.active.append(["tier", "path", "limit", "overall"])
    book.active.append(["gold", "/a", 5, True])
    book.save(file)
    response = upload(staff_client, file.getvalue(), "plans.xlsx")
    assert "+ rate limit /a of gold: path: /a" in text_of(response)
    submit(staff_client, response, **{"import": "all"})
    assert RateLimit.objects.get().overall


def test_import_needs_all_four_permissions():
    client = Client()
    client.force_login(make_staff("olu", *import_views.RIGHTS[:3]))
    assert client.get(URL).status_code == 403
    client.force_login(make_staff("ola", *import_views.RIGHTS))
    assert client.get(URL).status_code == 200
    assert "Import tiers" in text_of(client.get("/admin/search/?q=import"))
