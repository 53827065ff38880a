"""The sign-in views that differ from allauth's."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, cast

from allauth.account import views as account_views
from allauth.account.forms import default_token_generator
from allauth.account.internal.flows.email_verification import send_verification_email_to_address
from allauth.account.internal.flows.manage_email import add_email
from allauth.account.internal.flows.password_reset import request_password_reset
from allauth.account.models import EmailAddress
from allauth.core.internal.httpkit import authenticated_user
from allauth.socialaccount.adapter import get_adapter as get_social_adapter
from allauth.socialaccount.helpers import render_authentication_error
from allauth.usersessions.internal.flows.sessions import end_sessions
from allauth.usersessions.models import UserSession
from allauth.usersessions.views import ListUserSessionsView
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.module_loading import import_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST
from django.views.generic.edit import FormView

from accounts import addresses
from accounts.models import User
from accounts.signin import throttle
from accounts.signin.confirmations import Confirmation
from accounts.signin.forms import LinkUsed
from accounts.signin.sessions import open_sessions
from config.base.models import ConcurrentDeletion

NOT_PENDING = "That address isn't waiting to be verified."
EMAIL_SENT = "We've emailed a link to that address."


class SignupView(account_views.SignupView):  # type: ignore[misc]
    def form_valid(self, form: Any) -> HttpResponse:
        """As allauth's. If another request takes the username or address, or deletes the tier, validate the form again."""
        try:
            response: HttpResponse = super().form_valid(form)
        except (IntegrityError, ConcurrentDeletion):
            self._cached_form = None
            late = self.get_form()
            late.full_clean()
            response = super().form_valid(late) if late.is_valid() else self.form_invalid(late)
        return response


class ConfirmEmailView(account_views.ConfirmEmailView):  # type: ignore[misc]
    def get_object(self, queryset: Any = None) -> Confirmation:
        confirmation = Confirmation.from_key(self.kwargs["key"])
        if confirmation is None:
            raise Http404
        return confirmation

    def post(self, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            response: HttpResponse = super().post(*args, **kwargs)
        except Http404:
            self.object = None
            response = self.render_to_response(self.get_context_data(), status=HTTPStatus.NOT_FOUND)
        return response


class PasswordResetFromKeyView(account_views.PasswordResetFromKeyView):  # type: ignore[misc]
    def form_valid(self, form: Any) -> HttpResponse:
        try:
            response: HttpResponse = super().form_valid(form)
        except LinkUsed:
            response = self.render_to_response(self.get_context_data(token_fail=True))
        return response


class EmailView(account_views.EmailView):  # type: ignore[misc]
    """Change the email address, send the link again, or cancel the change."""

    def form_valid(self, form: Any) -> HttpResponse:
        add_email(self.request, form)
        self.send_link(form.address)
        messages.info(self.request, f"{EMAIL_SENT} Your address changes once you open it.")
        return redirect("account_email")

    def send_link(self, address: EmailAddress) -> None:
        """Email the new address a link to verify it or, if another user has it, a notice that says so."""
        taken = addresses.is_taken(address.email, exclude=address.user)
        recipient = EmailAddress(user=None, email=address.email) if taken else address
        send_verification_email_to_address(self.request, recipient, signup=taken)

    def _action_send(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        address = self._get_email_address(request)
        if address is not None and not address.verified:
            try:
                throttle.spend(request, throttle.emails_to(address.email))
            except ValidationError as error:
                messages.error(request, error.message)
                return render(request, "429.html", status=429)
            self.send_link(address)
            messages.info(request, EMAIL_SENT)
        else:
            messages.error(request, NOT_PENDING)
        return redirect("account_email")

    def _action_remove(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse | None:
        address = addresses.pending_address(authenticated_user(request))
        if address is None or address.email != request.POST.get("email"):
            messages.error(request, NOT_PENDING)
            return redirect("account_email")
        response: HttpResponse | None = super()._action_remove(request)
        return response

    def _action_primary(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        # An address becomes the primary one by being verified.
        return redirect("account_email")


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def password_set(request: HttpRequest) -> HttpResponse:
    """Email a link to set a first password, for users who signed up through a provider."""
    user: User = authenticated_user(request)
    if user.has_usable_password():
        return redirect("account_change_password")
    if request.method == "POST":
        try:
            throttle.spend(request, throttle.reset_requests(request), throttle.emails_to(user.email))
        except ValidationError as error:
            return render(request, "account/password_set.html", {"error": error.message})
        request_password_reset(request, user.email, [user], default_token_generator)
        return redirect("account_reset_password_done")
    return render(request, "account/password_set.html")


class SessionsView(ListUserSessionsView):  # type: ignore[misc]
    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        # allauth's view makes three queries for each session.
        sessions = open_sessions(authenticated_user(self.request))
        return FormView.get_context_data(self, **kwargs) | {"sessions": sessions, "session_count": len(sessions)}


@never_cache
@login_required
@require_POST
def end_session(request: HttpRequest, pk: int) -> HttpResponse:
    session = get_object_or_404(UserSession, pk=pk, user_id=request.user.pk)
    end_sessions(request, [session])
    messages.success(request, "Session signed out.")
    return redirect("usersessions_list" if request.user.is_authenticated else "account_login")


def provider_view(request: HttpRequest, provider: str, step: str) -> HttpResponse:
    """Start or finish a sign-in through a provider.

    Forms can only be sent to this site (form-action 'self'), and browsers apply that to redirects too. So a page of ours
    redirects to the provider.
    """
    if not get_social_adapter().list_apps(request, provider=provider):
        raise Http404
    view = import_string(f"allauth.socialaccount.providers.{provider}.views.oauth2_{step}")
    try:
        response: HttpResponse = view(request)
    except (ImproperlyConfigured, KeyError, ValueError) as error:
        # What allauth raises when the provider sends no id, or one that is too long.
        return cast("HttpResponse", render_authentication_error(request, provider, exception=error))
    if step == "login" and request.method == "POST" and isinstance(response, HttpResponseRedirect):
        return render(request, "socialaccount/leaving.html", {"url": response["Location"], "provider": provider})
    return response
