"""Users choose the columns of each list. The choice is saved and can be reset."""

from __future__ import annotations

import pytest
from django.urls import reverse

from accounts.erasure import erase
from accounts.models import ListSetting
from accounts.profile.lists import PAGES
from config.base.history import Author
from tests.accounts.people import make_event, make_key, signed_in
from tests.pages import fields_of, text_of
from tests.rows import make_limit, make_staff

pytestmark = pytest.mark.django_db
SAVE = "/account/lists/columns/"
# For each list: its URL, a column that is shown by default, and one that isn't.
LISTS = {
    "users:list": ("/users/", "email", "Email", "billing_day", "Billing day"),
    "admin:tiers_tier_changelist": ("/admin/tiers/tier/", "description", "Description", "updated", "Edited"),
    "admin:ratelimits_ratelimit_changelist": (
        "/admin/ratelimits/ratelimit/",
        "mode_column",
        "Mode",
        "created",
        "Created",
    ),
    "admin:apikeys_apikey_changelist": ("/admin/apikeys/apikey/", "use", "Last 30 days", "last_ip", "Last address"),
    "usage:staff_requests": ("/admin/usage/requests/", "address", "Address", "agent", "User agent"),
    "keys:list": ("/account/keys/", "use", "Last 30 days", "id", "ID"),
    "usage:own_requests": ("/account/usage/requests/", "address", "Address", "event", "Event ID"),
}


@pytest.fixture
def rows(alice, sue, free):
    make_event(make_key(alice))
    make_event(make_key(sue, "own"))
    make_limit(free)


def headings(client, url):
    page = text_of(client.get(url))
    table = page[page.index("<thead") : page.index("</thead>")]
    return [
        part.rpartition(">")[2].strip()
        for part in table.replace("</a>", "").split("<")
        if part.rpartition(">")[2].strip()
    ]


@pytest.mark.parametrize("page", LISTS)
@pytest.mark.usefixtures("rows")
def test_chosen_columns_are_shown_until_they_are_reset(staff_client, page):
    url, usual, usual_label, extra, extra_label = LISTS[page]
    before = headings(staff_client, url)
    assert usual_label in before
    assert extra_label not in before
    sent = fields_of(staff_client.get(url).content.decode(), "columns")
    assert usual in sent["columns"]
    sent["columns"] = [*(name for name in sent["columns"] if name != usual), extra]
    response = staff_client.post(SAVE, sent)
    assert response["Location"] == url
    after = headings(staff_client, url)
    assert usual_label not in after
    assert extra_label in after
    assert before[0] == after[0]
    assert staff_client.post(SAVE, sent | {"reset": "1"})["Location"] == url
    assert headings(staff_client, url) == before


@pytest.mark.parametrize("page", LISTS)
@pytest.mark.usefixtures("rows")
def test_rows_have_as_many_cells_as_the_header(staff_client, page):
    url = LISTS[page][0]
    for columns in ([LISTS[page][1]], [LISTS[page][3]], ["nothing"]):
        staff_client.post(SAVE, {"page": page, "columns": columns})
        html = text_of(staff_client.get(url))
        head, body = (
            html[html.index("<thead") : html.index("</thead>")],
            html[html.index("<tbody>") : html.index("</tbody>")],
        )
        width = head.count("<th ") + head.count("<th>")
        for row in body.split("<tr")[1:]:
            assert row.count("<td") + row.count("<th ") + row.count("<th>") == width


def test_columns_are_saved_per_user_and_list(staff_client, alice):
    staff_client.post(SAVE, {"page": "users:list", "columns": ["state"]})
    assert headings(staff_client, "/users/")[:3] == ["Select", "Name", "Username"]
    assert "Email" not in headings(staff_client, "/users/")
    assert "Email" in headings(signed_in(make_staff("steve", "view_user")), "/users/")
    assert ListSetting.objects.count() == 1
    staff_client.post(SAVE, {"page": "users:list", "columns": ["email"]})
    assert ListSetting.objects.get().columns == ["email"]


def test_hidden_columns_can_still_be_sorted_by(staff_client, free, pro):
    url = "/admin/tiers/tier/"
    staff_client.post(SAVE, {"page": "admin:tiers_tier_changelist", "columns": ["created"]})
    html = text_of(staff_client.get(url))
    assert "?o=5" in html  # counted with the hidden columns
    found = staff_client.get(f"{url}?o=-5").context["cl"].result_list
    assert list(found) == sorted((free, pro), key=lambda tier: tier.created_at, reverse=True)
    assert "sorted descending" in text_of(staff_client.get(f"{url}?o=-5"))


def test_the_deleted_column_cannot_be_hidden(staff_client, pro):
    pro.delete()
    staff_client.post(SAVE, {"page": "admin:tiers_tier_changelist", "columns": ["created"]})
    assert "Deleted" in headings(staff_client, "/admin/tiers/tier/?state=deleted")


def test_unknown_saved_columns_are_ignored(staff_client, sue):
    ListSetting.objects.create(user=sue, page="users:list", columns=["gone"])
    assert "Email" in headings(staff_client, "/users/")


@pytest.mark.parametrize(
    "sent",
    [
        {},
        {"page": "admin:index"},
        {"page": "users:list", "columns": ["<b>"]},
        {"page": "users:list", "columns": ["x" * 51]},
        {"page": "users:list", "columns": [f"c{number}" for number in range(51)]},
        {"page": "\x00"},
    ],
)
def test_invalid_choices_are_rejected(staff_client, sent):
    assert staff_client.post(SAVE, sent).status_code == 400
    assert not ListSetting.objects.exists()


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example/", "", "javascript:alert(1)"])
def test_saving_columns_never_redirects_to_another_site(staff_client, wanted):
    assert staff_client.post(SAVE, {"page": "users:list", "next": wanted})["Location"] == "/users/"


def test_visitors_are_redirected_to_sign_in(client):
    assert client.post(SAVE, {"page": "users:list"})["Location"].startswith("/accounts/login/")


def test_erasing_a_user_deletes_their_columns(staff_client, alice, sue):
    ListSetting.objects.create(user=alice, page="users:list", columns=["email"])
    assert str(ListSetting.objects.get()) == "alice: users:list"
    erase(alice, Author(sue))
    assert not ListSetting.objects.exists()


def test_the_admin_list_of_users_has_no_column_menu(staff_client, alice):
    page = staff_client.get("/admin/accounts/user/?o=")
    assert page.context["setup"].page == ""
    assert 'action="/account/lists/columns/"' not in page.content.decode()


def test_every_customizable_list_exists(staff_client):
    assert [staff_client.get(reverse(page)).status_code for page in PAGES] == [200] * len(PAGES)


@pytest.mark.parametrize("count", [1, 30])
def test_the_number_of_queries_does_not_grow(staff_client, alice, django_assert_max_num_queries, count):
    for number in range(count):
        make_event(make_key(alice, f"key {number}"))
    for page in LISTS:
        staff_client.post(SAVE, {"page": page, "columns": [LISTS[page][3]]})
        staff_client.get(LISTS[page][0])
        with django_assert_max_num_queries(14):
            staff_client.get(LISTS[page][0])
