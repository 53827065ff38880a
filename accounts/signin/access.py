"""Who may open the staff pages: active staff, with a second factor used in this session when one is required.

The admin site calls these functions. Views outside it use `config.base.views.staff_required`, which calls the admin site.
"""

from __future__ import annotations

from allauth.account.authentication import get_authentication_records
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.urls import reverse

SECOND_FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)


def is_staff(request: HttpRequest) -> bool:
    user = request.user
    return bool(user.is_authenticated and user.is_effective and user.is_staff)


def second_factor_used(request: HttpRequest) -> bool:
    return any(record.get("method") == "mfa" for record in get_authentication_records(request, request.user))


def second_factor_enrolled(request: HttpRequest) -> bool:
    return bool(Authenticator.objects.filter(user_id=request.user.pk, type__in=SECOND_FACTORS).exists())


def second_factor_missing(request: HttpRequest) -> bool:
    # Enrolled and used: removing the factor closes every session that used it.
    return bool(settings.STAFF_MFA_REQUIRED) and not (second_factor_used(request) and second_factor_enrolled(request))


def has_staff_access(request: HttpRequest) -> bool:
    return is_staff(request) and not second_factor_missing(request)


def handle_no_staff_access(request: HttpRequest, next_url: str) -> HttpResponse:
    """Send them to sign in, or to set up or use a second factor, and back. Raises PermissionDenied if they aren't staff."""
    if not request.user.is_authenticated:
        return redirect_to_login(next_url)
    if not is_staff(request):
        raise PermissionDenied
    if second_factor_enrolled(request):
        return redirect_to_login(next_url, reverse("mfa_reauthenticate"))
    messages.warning(request, "Staff pages require a second factor. Set one up here, then try again.")
    return redirect_to_login(next_url, reverse("mfa_index"))
