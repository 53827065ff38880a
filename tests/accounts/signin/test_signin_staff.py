"""Staff pages: the admin uses the normal sign-in, and `staff_required` checks permissions."""

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


def test_the_admin_has_no_sign_in_form_of_its_own(client, sue):
    response = client.get("/admin/login/?next=/admin/tiers/")
    assert response["Location"] == "/accounts/login/?next=/admin/tiers/"
    assert client.post("/admin/login/", {"username": "sue", "password": PASSWORD})["Location"].startswith("/accounts/")
    assert client.get("/admin/").status_code == 302


def test_staff_return_to_the_requested_page_after_signing_in(client, sue):
    verified(sue)
    login = client.get("/admin/", follow=True)
    assert login.redirect_chain[-1][0] == "/accounts/login/?next=/admin/"
    response = client.post("/accounts/login/?next=/admin/", {"login": "sue", "password": PASSWORD, "next": "/admin/"})
    assert response["Location"] == "/admin/"
    assert client.get("/admin/login/?next=/admin/")["Location"] == "/admin/"


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example/", "javascript:alert(1)", ""])
def test_the_admin_login_never_redirects_to_another_site(client, sue, target):
    client.force_login(sue)
    assert client.get("/admin/login/", {"next": target})["Location"] == "/admin/"


def test_users_get_a_403_and_no_redirect_loop(client, alice):
    client.force_login(alice)
    assert client.get("/admin/", follow=True).status_code == 403


def test_the_admin_password_page_redirects_to_the_account_page(client, sue):
    client.force_login(sue)
    assert client.get("/admin/password_change/")["Location"] == "/accounts/password/change/"


def test_allauth_models_are_not_in_the_admin(client, sue):
    client.force_login(sue)
    for path in ("account/emailaddress", "mfa/authenticator", "socialaccount/socialapp", "usersessions/usersession"):
        assert client.get(f"/admin/{path}/").status_code == 404


@staff_required("accounts.view_user", "accounts.change_user")
def page(request, answer="open"):
    return HttpResponse(answer)


def request_by(rf, user):
    request = rf.get("/users/?tier=1")
    request.user, request.session = user, SessionStore()
    request._messages = []
    return request


def test_visitors_are_redirected_to_sign_in_and_back(rf, db):
    assert page(request_by(rf, AnonymousUser()))["Location"] == "/accounts/login/?next=/users/%3Ftier%3D1"


def test_users_and_staff_without_all_permissions_are_denied(rf, alice):
    clerk = make_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_user"))
    for user in (alice, clerk):
        with pytest.raises(PermissionDenied):
            page(request_by(rf, user))


def test_staff_with_all_permissions_and_superusers_are_allowed(rf, sue):
    clerk = make_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user"]))
    for user in (sue, User.objects.get(pk=clerk.pk)):
        assert page(request_by(rf, user), answer="allowed").content == b"allowed"


def test_permissions_are_checked_on_each_request(client, free):
    clerk = make_user("clerk", is_staff=True)
    permission = Permission.objects.get(codename="view_tier")
    clerk.user_permissions.add(permission)
    client.force_login(clerk)
    assert client.get("/admin/tiers/tier/").status_code in {200, 404}
    clerk.user_permissions.remove(permission)
    assert client.get("/admin/tiers/tier/").status_code in {403, 404}


def test_suspended_staff_are_denied(rf, sue):
    sue.suspend()
    with pytest.raises(PermissionDenied):
        page(request_by(rf, sue))


def test_staff_sign_in_like_other_users(client, sue):
    verified(sue)
    sign_in(client, "sue@example.com")
    assert client.get("/admin/").status_code == 200
