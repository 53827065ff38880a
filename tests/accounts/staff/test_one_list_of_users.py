"""The admin's list of users redirects to /users/, except for actions and filters that /users/ doesn't have."""

from __future__ import annotations

import pytest

from tests.accounts.people import signed_in
from tests.rows import make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db
LIST = "/admin/accounts/user/"


@pytest.mark.parametrize(
    ("query", "equivalent"),
    [
        ("", ""),
        ("?q=ali+ce", "?q=ali+ce"),
        ("?state=deleted&q=x", "?state=deleted&q=x"),
        ("?state=all", "?state=all"),
        ("?is_active__exact=0", "?state=suspended"),
        ("?is_active__exact=1&is_staff__exact=1", "?state=active&staff=yes"),
        ("?is_staff__exact=0", "?staff=no"),
        ("?tier__isnull=True", "?tier=null"),
    ],
)
def test_the_admin_list_redirects_with_the_same_filters(staff_client, query, equivalent):
    response = staff_client.get(LIST + query)
    assert response["Location"] == f"/users/{equivalent}"
    assert staff_client.get(response["Location"]).status_code == 200


def test_the_tier_filter_redirects_unless_the_tier_is_deleted(staff_client, free, alice):
    other = Tier.objects.create(name="other")
    response = staff_client.get(f"{LIST}?tier__id__exact={free.pk}", follow=True)
    assert alice in response.context["rows"]
    assert staff_client.get(f"{LIST}?tier__id__exact={other.pk}", follow=True).context["rows"] == []
    other.delete()
    assert staff_client.get(f"{LIST}?tier__id__exact={other.pk}").status_code == 200


@pytest.mark.parametrize(
    "query", ["?o=2", "?p=1", "?last_login__isnull=True", "?state=all&is_active__exact=1", "?_popup=1", "?state=odd"]
)
def test_queries_without_an_equivalent_are_not_redirected(staff_client, query):
    assert staff_client.get(LIST + query).status_code == 200


@pytest.mark.parametrize("query", ["?password__startswith=a", "?is_active__exact=odd", "?tier__id__exact=%C2%B2"])
def test_invalid_lookups_are_rejected(staff_client, query):
    assert staff_client.get(LIST + query).status_code == 400


def test_an_admin_action_works_and_redirects_to_the_list(staff_client, alice):
    data = {"action": "delete_selected", "_selected_action": [alice.pk], "post": "yes"}
    response = staff_client.post(LIST, data, follow=True)
    assert response.request["PATH_INFO"] == "/users/"
    assert "1 user deleted." in response.content.decode()
    alice.refresh_from_db()
    assert alice.deleted_at is not None


def test_staff_without_view_permission_are_not_redirected(alice):
    assert signed_in(make_staff("steve", "change_user")).get(LIST).status_code == 200


@pytest.mark.parametrize("page", ["change/", "history/"])
def test_breadcrumbs_link_to_the_list_of_users(staff_client, alice, page):
    html = staff_client.get(f"{LIST}{alice.pk}/{page}").content.decode()
    assert '<a href="/users/">Users</a>' in html
    assert f'href="{LIST}"' not in html


def test_deleting_a_user_redirects_to_the_list_of_users(staff_client, alice):
    response = staff_client.post(f"{LIST}{alice.pk}/delete/", {"post": "yes"})
    assert response["Location"] == "/users/"
