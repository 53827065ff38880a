"""Suggestions of the search field: actions, pages and rows that the user has permission for."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from apikeys.secrets import new_secret
from config.staff.palette import MAX_SUGGESTED
from tests.accounts.people import signed_in
from tests.chromium import faults_of
from tests.conftest import make_user
from tests.rows import make_key, make_limit, make_staff

URL = "/admin/search/suggest/"


def suggested(client, text):
    response = client.post(URL, {"q": text})
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    return [(one["group"], one["label"], one["url"]) for one in response.json()["suggestions"]]


@pytest.mark.django_db
class TestSuggestions:
    def test_matching_rows_are_suggested(self, staff_client, alice, free):
        key, limit = make_key(alice, "alice's key"), make_limit(free, name="for alice")
        assert suggested(staff_client, "alice") == [
            ("Users", "alice", f"/users/{alice.pk}/"),
            ("API keys", str(key), f"/admin/apikeys/apikey/{key.pk}/change/"),
            ("Rate limits", str(limit), limit.get_absolute_url()),
        ]

    def test_an_action_with_the_start_of_a_name_links_to_its_confirmation(self, staff_client, alice, bob):
        assert ("Actions", "Suspend “alice”", f"/users/{alice.pk}/suspend/") in suggested(staff_client, "suspend ali")
        assert suggested(staff_client, "Sus ALI")[0][1] == "Suspend “alice”"
        assert suggested(staff_client, "sign alice")[0][1] == "Sign “alice” out everywhere"
        assert suggested(staff_client, "change alice")[0][2] == f"/users/{alice.pk}/tier/"
        page = staff_client.get(f"/users/{alice.pk}/suspend/")
        assert page.status_code == 200

    def test_revoking_is_suggested_for_the_last_four_characters_of_a_key(self, staff_client, alice):
        key = make_key(alice, "export", last4="9xYz")
        assert ("Actions", "Revoke “export”", f"/admin/apikeys/apikey/{key.pk}/revoke/") in suggested(
            staff_client, "revoke 9xYz"
        )

    def test_actions_are_only_suggested_if_they_apply(self, staff_client, alice):
        assert not any(group == "Actions" for group, *_ in suggested(staff_client, "reactivate alice"))
        alice.suspend()
        assert suggested(staff_client, "reactivate alice")[0][1] == "Reactivate “alice”"
        alice.delete()
        assert suggested(staff_client, "restore alice")[0][1] == "Restore “alice”"

    @pytest.mark.parametrize("text", ["su alice", "suspend", "suspend ", "xyz alice"])
    def test_incomplete_text_suggests_no_action(self, staff_client, alice, text):
        assert not any(group == "Actions" for group, *_ in suggested(staff_client, text))

    def test_pages_are_found_by_keyword(self, staff_client):
        assert ("Pages", "Import users", "/users/import/") in suggested(staff_client, "csv")
        assert suggested(staff_client, "key hyg")[0][1] == "Key hygiene"

    def test_a_secret_only_finds_its_key(self, staff_client, alice):
        key = make_key(alice, "export")
        assert suggested(staff_client, key.secret) == [
            ("API keys", "export", f"/admin/apikeys/apikey/{key.pk}/change/")
        ]
        assert suggested(staff_client, new_secret()) == []
        assert key.secret not in staff_client.post(URL, {"q": key.secret}).content.decode()

    @pytest.mark.parametrize("text", ["", "  ", "\0", "suspend \0", "x" * 5000, "<script>", "💥"])
    def test_odd_text_finds_nothing(self, staff_client, text):
        assert suggested(staff_client, text) == []
        assert staff_client.post(URL).json() == {"suggestions": []}

    def test_the_results_page_has_the_same_suggestions(self, staff_client, alice):
        page = staff_client.get("/admin/search/?q=suspend+alice").content.decode()
        assert f'<a href="/users/{alice.pk}/suspend/">Suspend “alice”</a>' in page

    def test_suggestions_require_permission(self, alice, sue):
        key = make_key(alice, "alice's key")
        no_permissions = signed_in(make_staff("nobody"))
        assert (
            suggested(no_permissions, "alice")
            == suggested(no_permissions, "suspend alice")
            == suggested(no_permissions, key.secret)
            == []
        )
        assert suggested(no_permissions, "create") == []
        viewer = signed_in(make_staff("viewer", "view_user"))
        assert [group for group, *_ in suggested(viewer, "alice")] == ["Users"]
        assert suggested(viewer, "suspend alice") == []
        editor = signed_in(make_staff("editor", "view_user", "change_user"))
        assert suggested(editor, "suspend alice")[0][1] == "Suspend “alice”"
        assert not any(group == "Actions" for group, *_ in suggested(editor, "suspend sue"))

    def test_visitors_and_users_are_redirected(self, client, alice):
        assert client.post(URL, {"q": "alice"}).status_code == 302
        assert signed_in(alice).post(URL, {"q": "alice"}).status_code == 302

    @pytest.mark.parametrize("count", [1, 30])
    def test_the_number_of_queries_does_not_grow(self, staff_client, django_assert_max_num_queries, count):
        for number in range(count):
            make_key(make_user(f"person{number}"), f"person{number}")
        with django_assert_max_num_queries(50):
            found = suggested(staff_client, "revoke person")
        assert sum(group == "Actions" for group, *_ in found) == min(count, MAX_SUGGESTED)


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_user_can_be_suspended_by_keyboard(visit, sue, alice):
    page = visit(sue)
    page.goto("/users/")
    page.keyboard.press("Control+k")
    page.keyboard.type("suspend ali")
    option = page.get_by_role("option", name="Suspend “alice”")
    option.wait_for()
    assert faults_of(page) == []
    page.keyboard.press("ArrowDown")
    field = page.locator("#global-search")
    expect(field).to_have_attribute("aria-expanded", "true")
    expect(field).to_have_attribute("aria-activedescendant", option.get_attribute("id"))
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/users/{alice.pk}/suspend/")
    button = page.get_by_role("button", name="Suspend user")
    for _ in range(40):
        if button.evaluate("button => button === document.activeElement"):
            break
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/users/{alice.pk}/")
    alice.refresh_from_db()
    assert not alice.is_active


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_suggestions_can_be_navigated_closed_and_clicked(visit, sue, alice):
    page = visit(sue, width=375)
    page.goto("/admin/")
    page.locator("h1").click()
    page.keyboard.press("/")
    field, options = page.locator("#global-search"), page.get_by_role("option")
    page.keyboard.type("alice")
    options.first.wait_for()
    page.keyboard.press("ArrowUp")
    expect(options.last).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Escape")
    expect(field).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("ArrowDown")
    options.first.wait_for()
    field.fill("")
    expect(page.locator(".suggestions")).to_be_hidden()
    page.keyboard.type("nobody of that name")
    page.get_by_text("No suggestions").wait_for(state="attached")
    field.fill("alice")
    options.first.click()
    page.wait_for_url(f"**/users/{alice.pk}/")


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_secret_is_never_in_a_url(visit, sue, alice):
    key, page, urls = make_key(alice, "export"), visit(sue), []
    page.on("request", lambda request: urls.append(request.url))
    page.goto("/admin/")
    page.locator("#global-search").fill(key.secret)
    page.keyboard.press("Enter")
    page.get_by_role("option", name="export").click()
    page.wait_for_url(f"**/{key.pk}/change/")
    assert not any(key.secret in url for url in urls)
