"""Users save lists as views, which are tabs above the list. Staff with permission can share theirs."""

from __future__ import annotations

import pytest

from accounts.erasure import erase
from accounts.models import ListSetting, SavedView
from accounts.profile import list_views
from config.base.history import Author
from tests.accounts.people import make_event, make_key, messages, signed_in
from tests.pages import fields_of, forms_in, text_of
from tests.rows import make_limit, make_staff

pytestmark = pytest.mark.django_db
ADD = "/account/lists/views/add/"
LISTS = {
    "users:list": "/users/?staff=no&sort=-username",
    "admin:tiers_tier_changelist": "/admin/tiers/tier/?q=e&o=-1",
    "admin:ratelimits_ratelimit_changelist": "/admin/ratelimits/ratelimit/?mode__exact=enforce&state=all",
    "admin:apikeys_apikey_changelist": "/admin/apikeys/apikey/?key_state=active",
    "admin:admin_logentry_changelist": "/admin/admin/logentry/?kind=accounts.user",
    "usage:staff_requests": "/admin/usage/requests/?verdict=allowed",
    "usage:own_requests": "/account/usage/requests/?verdict=denied",
}


def url(view, what):
    return f"/account/lists/views/{view.pk}/{what}/"


def make_view(user, name="mine", page="users:list", query="q=alice", **fields):
    return SavedView.objects.create(user=user, name=name, page=page, query=query, **fields)


def save(client, address, **values):
    """Submit the list's "Save view" form."""
    form = next(form for form in forms_in(client.get(address).content.decode()) if form.address == ADD)
    return client.post(ADD, form.sent | values)


@pytest.mark.parametrize("page", LISTS)
def test_a_list_can_be_saved_and_opened_again(staff_client, sue, free, page):
    make_limit(free)
    make_event(make_key(sue))
    response = save(staff_client, LISTS[page], name="My view")
    view = SavedView.objects.get()
    assert (view.user, view.page, view.query) == (sue, page, LISTS[page].partition("?")[2])
    assert response["Location"] == f"{LISTS[page]}&view={view.pk}"
    shown = staff_client.get(response["Location"])
    assert shown.status_code == 200
    assert messages(shown) == ["View “My view” saved."]
    assert 'aria-current="page" >My view</a>' in text_of(shown)
    others = text_of(staff_client.get(LISTS[page]))
    assert ">My view</a>" in others
    assert 'aria-current="page" >My view</a>' not in others


def test_the_page_number_is_not_saved_and_the_same_name_overwrites(staff_client, alice):
    save(staff_client, "/users/?q=alice&page=1", name="One")
    save(staff_client, "/users/?q=bob&page=1", name="One")
    assert SavedView.objects.get().query == "q=bob"
    save(staff_client, "/users/?q=bob&page=1", name="Two")
    assert {str(view) for view in SavedView.objects.all()} == {"One", "Two"}


def test_a_view_saves_the_chosen_columns(staff_client, sue):
    save(staff_client, "/users/", name="usual")
    assert SavedView.objects.get(name="usual").columns is None
    ListSetting.objects.create(user=sue, page="users:list", columns=["billing_day"])
    save(staff_client, "/users/?q=a", name="billing")
    view = SavedView.objects.get(name="billing")
    assert view.columns == ["billing_day"]
    ListSetting.objects.update(columns=None)
    assert staff_client.get(f"/users/?view={view.pk}").context["setup"].shown == {"name", "billing_day"}
    assert "email" in staff_client.get("/users/").context["setup"].shown


def test_views_are_shared_only_with_staff_and_only_with_permission(alice, sue):
    tom, vera = make_staff("tom", "view_user", "share_views"), make_staff("vera", "view_user")
    save(signed_in(tom), "/users/?q=a", name="Shared", is_shared="on")
    save(signed_in(vera), "/users/?q=a", name="Own", is_shared="on")
    assert set(SavedView.objects.filter(is_shared=True).values_list("name", flat=True)) == {"Shared"}
    page = text_of(signed_in(vera).get("/users/"))
    assert 'title="Shared by tom">Shared</a>' in page
    assert "Share with all staff" not in page
    assert ">Own</a>" not in text_of(signed_in(tom).get("/users/"))
    make_view(sue, "For all", page="usage:own_requests", is_shared=True)
    assert "For all" not in text_of(signed_in(alice).get("/account/usage/requests/"))
    assert "For all" not in text_of(signed_in(alice).get("/account/lists/views/"))


def test_only_the_owner_can_edit_or_delete_a_view(alice, sue):
    view = make_view(sue, is_shared=True)
    client = signed_in(make_staff("vera", "view_user", "share_views"))
    for what in ("edit", "delete"):
        assert client.get(url(view, what)).status_code == 404
        assert client.post(url(view, what), {"name": "x", "post": "yes"}).status_code == 404
    assert signed_in(alice).post(url(view, "default")).status_code == 404
    page = text_of(client.get("/account/lists/views/"))
    assert "By sue" in page
    assert url(view, "edit") not in page


def test_a_view_can_be_renamed_and_shared(staff_client, sue):
    view = make_view(sue)
    make_view(sue, "taken")
    response = staff_client.post(url(view, "edit"), {"name": "taken"})
    assert "You have another view with this name." in text_of(response)
    assert 'value="taken"' in text_of(response)
    sent = fields_of(staff_client.get(url(view, "edit")).content.decode(), "name")
    response = staff_client.post(url(view, "edit"), sent | {"name": "renamed", "is_shared": "on"})
    assert response["Location"] == "/account/lists/views/"
    view.refresh_from_db()
    assert (view.name, view.is_shared) == ("renamed", True)


def test_deleting_a_shared_view_warns_that_others_lose_it(staff_client, sue):
    view = make_view(sue, is_shared=True)
    ListSetting.objects.create(user=sue, page="users:list", default_view=view)
    assert "This view is shared" in staff_client.get(url(view, "delete")).context["effects"][1]
    assert SavedView.objects.exists()
    response = staff_client.post(url(view, "delete"), {}, follow=True)
    assert messages(response) == ["View “mine” deleted."]
    assert "No views yet." in text_of(response)
    assert ListSetting.objects.get().default_view is None
    assert len(staff_client.get(url(make_view(sue), "delete")).context["effects"]) == 1


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ("users:list", "/users/"),
        ("admin:tiers_tier_changelist", "/admin/tiers/tier/"),
        ("usage:staff_requests", "/admin/usage/requests/"),
    ],
)
def test_the_default_view_opens_first(staff_client, sue, page, address):
    view = make_view(sue, page=page, query="")
    staff_client.post(url(view, "default"))
    assert staff_client.get(address)["Location"] == f"?view={view.pk}"
    assert staff_client.get(f"{address}?view={view.pk}").status_code == 200
    assert staff_client.get(f"{address}?view=all").status_code == 200
    staff_client.post(url(view, "default"))
    assert staff_client.get(address).status_code == 200


def test_removing_the_last_filter_does_not_open_the_default_view(staff_client, sue):
    staff_client.post(url(make_view(sue, query="q=bob"), "default"))
    page = text_of(staff_client.get("/users/?state=active"))
    assert '<a class="chip" href="?view=all">' in page
    assert 'href="?"' not in page


def test_a_default_view_that_is_no_longer_shared_is_ignored(sue):
    view = make_view(sue, is_shared=True)
    client = signed_in(make_staff("vera", "view_user"))
    client.post(url(view, "default"))
    assert client.get("/users/")["Location"] == f"?q=alice&view={view.pk}"
    SavedView.objects.update(is_shared=False)
    assert client.get("/users/").status_code == 200


def test_a_view_with_a_removed_filter_shows_a_message(staff_client, sue):
    view = make_view(sue, page="admin:tiers_tier_changelist", query="gone__exact=1")
    response = staff_client.get(f"/admin/tiers/tier/?{view.full_query}", follow=True)
    assert response.redirect_chain == [("?view=all", 302)]
    assert messages(response) == [
        "The view “mine” uses a filter that this list no longer has. Save it again, or delete it."
    ]
    assert staff_client.get("/admin/tiers/tier/?gone__exact=1").status_code == 400
    assert staff_client.get("/admin/tiers/tier/?gone__exact=1&view=999").status_code == 400
    view = make_view(sue, "tier", query="tier=999")
    assert staff_client.get(f"/users/?{view.full_query}").status_code == 200


@pytest.mark.parametrize(
    "sent", [{}, {"page": "admin:index", "name": "x"}, {"page": "users:list", "name": "x", "query": "a" * 2001}]
)
def test_unknown_lists_and_long_queries_are_rejected(staff_client, sent):
    assert staff_client.post(ADD, sent).status_code == 400
    assert not SavedView.objects.exists()


@pytest.mark.parametrize("name", ["", "x" * 51, "a\x00b", "\u202eevil"])
def test_an_invalid_name_is_a_field_error_and_keeps_the_query(staff_client, name):
    response = staff_client.post(ADD, {"page": "users:list", "name": name, "query": "q=alice&page=3"})
    assert response.status_code == 200
    assert response.context["form"].errors.keys() == {"name"}
    sent = fields_of(response.content.decode(), "query")
    staff_client.post(ADD, sent | {"name": "fine"})
    assert SavedView.objects.get().query == "q=alice"


def test_the_number_of_views_is_limited(staff_client, sue, monkeypatch):
    monkeypatch.setattr(list_views, "MAX_VIEWS", 1)
    save(staff_client, "/users/", name="one")
    assert "You have 1 views of this list." in text_of(save(staff_client, "/users/", name="two"))
    assert save(staff_client, "/users/?q=a", name="one").status_code == 302
    assert SavedView.objects.get().query == "q=a"


def test_views_of_unknown_lists_are_not_shown(staff_client, sue):
    make_view(sue, page="gone:list")
    assert "No views yet." in text_of(staff_client.get("/account/lists/views/"))


def test_erasing_a_user_deletes_their_views(alice, sue):
    make_view(alice)
    erase(alice, Author(sue))
    assert not SavedView.objects.exists()


def test_the_permission_to_share_views_can_be_granted(staff_client, alice):
    page = text_of(staff_client.get(f"/users/{alice.pk}/access/"))
    assert "Share views of lists" in page


@pytest.mark.parametrize("count", [1, 20])
def test_the_number_of_queries_does_not_grow(staff_client, sue, django_assert_num_queries, count):
    for number in range(count):
        make_view(sue, f"view {number}", is_shared=True)
    staff_client.get("/account/lists/views/")
    with django_assert_num_queries(4):
        staff_client.get("/account/lists/views/")
    with django_assert_num_queries(12):
        staff_client.get("/users/")


@pytest.mark.django_db(transaction=True)
def test_a_view_deleted_while_it_becomes_the_default_is_not_found(alice, monkeypatch):
    view, save_setting = make_view(alice, page="usage:own_requests"), ListSetting.save

    def too_late(self, **options):
        SavedView.objects.filter(pk=view.pk).delete()
        save_setting(self, **options)

    monkeypatch.setattr(ListSetting, "save", too_late)
    assert signed_in(alice).post(url(view, "default")).status_code == 404
