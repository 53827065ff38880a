"""Who may open the staff pages: effective staff, with a second factor used in this session when that is required.

The admin asks `may_enter` in `AdminSite.has_permission`; every other staff view is wrapped in `staff_page`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse

View = Callable[..., HttpResponseBase]

SECOND_FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def is_staff(request: HttpRequest) -> bool:
    user = request.user
    return bool(user.is_authenticated and user.is_effective and user.is_staff)


def second_factor_used(request: HttpRequest) -> bool:
    """Whether this session, not merely this account, has passed a second factor or a passkey."""
    return any(record.get("method") == "mfa" for record in get_authentication_records(request, request.user))


def second_factor_enrolled(request: HttpRequest) -> bool:
    return bool(Authenticator.objects.filter(user_id=request.user.pk, type__in=SECOND_FACTORS).exists())


def second_factor_missing(request: HttpRequest) -> bool:
    """Whether STAFF_MFA_REQUIRED keeps this session out. Removing the factor ends its use in every session."""
    return bool(settings.STAFF_MFA_REQUIRED) and not (second_factor_used(request) and second_factor_enrolled(request))


def may_enter(request: HttpRequest) -> bool:
    """Whether staff pages open at all for this request; which of them is a question of permissions."""
    return is_staff(request) and not second_factor_missing(request)


def show_the_way_in(request: HttpRequest, next_url: str = "") -> HttpResponse:
    """The answer to somebody who may not enter: sign in, enrol or use a second factor, and then come back.

    Raises PermissionDenied (403) for account holders who are no staff.
    """
    next_url = next_url or request.get_full_path()
    if not request.user.is_authenticated:
        return redirect_to_login(next_url)
    if not is_staff(request):
        raise PermissionDenied
    if second_factor_enrolled(request):
        return redirect_to_login(next_url, reverse("mfa_reauthenticate"))
    messages.warning(request, "The staff pages need a second factor. Set one up here, then open them again.")
    return redirect_to_login(next_url, reverse("mfa_index"))


def staff_page(*permissions: str) -> Callable[[View], View]:
    """Open a view to staff who hold all of `permissions` ("accounts.view_user"), and to nobody else.

    For a class-based view: `@method_decorator(staff_page("accounts.view_user"), name="dispatch")`. Anonymous visitors
    are asked to sign in, staff without their second factor to use it; everybody else is refused with 403.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def opened(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if not may_enter(request):
                return show_the_way_in(request)
            if not request.user.has_perms(permissions):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        return opened

    return decorate
