"""Who can open the staff pages: the admin's sign-in and `staff_required`."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, Permission
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse

from accounts.models import User
from config.base.views import staff_required
from tests.accounts.signin.steps import PASSWORD, sign_in, verified
from tests.conftest import make_user


def test_the_admin_asks_for_no_password_of_its_own(client, sue):
    response = client.get("/admin/login/?next=/admin/tiers/")
    assert response["Location"] == "/accounts/login/?next=/admin/tiers/"
    assert client.post("/admin/login/", {"username": "sue", "password": PASSWORD})["Location"].startswith("/accounts/")
    assert client.get("/admin/").status_code == 302


def test_staff_come_back_to_where_they_wanted(client, sue):
    verified(sue)
    login = client.get("/admin/", follow=True)
    assert login.redirect_chain[-1][0] == "/accounts/login/?next=/admin/"
    response = client.post("/accounts/login/?next=/admin/", {"login": "sue", "password": PASSWORD, "next": "/admin/"})
    assert response["Location"] == "/admin/"
    assert client.get("/admin/login/?next=/admin/")["Location"] == "/admin/"


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "javascript:alert(1)", ""])
def test_the_admin_leads_nobody_off_the_site(client, sue, target):
    client.force_login(sue)
    assert client.get("/admin/login/", {"next": target})["Location"] == "/admin/"


def test_users_are_rejected_without_a_loop(client, alice):
    client.force_login(alice)
    assert client.get("/admin/", follow=True).status_code == 403


def test_the_admins_password_page_is_everyones(client, sue):
    client.force_login(sue)
    assert client.get("/admin/password_change/")["Location"] == "/accounts/password/change/"


def test_allauths_models_have_no_pages_in_the_admin(client, sue):
    client.force_login(sue)
    for path in ("account/emailaddress", "mfa/authenticator", "socialaccount/socialapp", "usersessions/usersession"):
        assert client.get(f"/admin/{path}/").status_code == 404


@staff_required("accounts.view_user", "accounts.change_user")
def page(request, answer="open"):
    return HttpResponse(answer)


def request_of(rf, user):
    request = rf.get("/users/?tier=1")
    request.user, request.session = user, SessionStore()
    request._messages = []
    return request


def test_anonymous_visitors_are_asked_to_sign_in_and_come_back(rf, db):
    assert page(request_of(rf, AnonymousUser()))["Location"] == "/accounts/login/?next=/users/%3Ftier%3D1"


def test_users_and_staff_without_all_the_rights_are_rejected(rf, alice):
    clerk = make_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_user"))
    for user in (alice, clerk):
        with pytest.raises(PermissionDenied):
            page(request_of(rf, user))


def test_staff_with_all_the_rights_and_superusers_come_in(rf, sue):
    clerk = make_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user"]))
    for user in (sue, User.objects.get(pk=clerk.pk)):
        assert page(request_of(rf, user), answer="come in").content == b"come in"


def test_rights_are_read_again_on_each_request(client, free):
    clerk = make_user("clerk", is_staff=True)
    right = Permission.objects.get(codename="view_tier")
    clerk.user_permissions.add(right)
    client.force_login(clerk)
    assert client.get("/admin/tiers/tier/").status_code in {200, 404}
    clerk.user_permissions.remove(right)
    assert client.get("/admin/tiers/tier/").status_code in {403, 404}


def test_suspended_staff_are_asked_to_sign_in(rf, sue):
    sue.suspend()
    with pytest.raises(PermissionDenied):
        page(request_of(rf, sue))


def test_staff_sign_in_by_the_common_door(client, sue):
    verified(sue)
    sign_in(client, "sue@example.com")
    assert client.get("/admin/").status_code == 200
