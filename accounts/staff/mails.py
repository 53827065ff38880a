"""The mails that staff have sent to account holders."""

from __future__ import annotations

from allauth.account.adapter import get_adapter
from allauth.account.forms import default_token_generator
from allauth.account.internal.flows.password_reset import request_password_reset
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from django.http import HttpRequest

from accounts.addresses import set_address
from accounts.models import User


def send_reset(request: HttpRequest, user: User) -> None:
    """Mail a link to set a new password, the same that the sign-in page offers."""
    request_password_reset(request, user.email, [user], None)


def send_invitation(request: HttpRequest, user: User) -> None:
    """Tell the holder of a new account that it is there, with a link to set its first password."""
    key = f"{user_pk_to_url_str(user)}-{default_token_generator.make_token(user)}"
    adapter = get_adapter(request)
    context = {"user": user, "password_reset_url": adapter.get_reset_password_from_key_url(key), "request": request}
    adapter.send_mail("account/email/invitation", user.email, context)


def send_verification(request: HttpRequest, user: User) -> None:
    """Mail a link that shows the account's present address to be its holder's."""
    present = EmailAddress.objects.filter(user=user, email=user.email).first()
    (present or set_address(user, verified=False)).send_confirmation(request)


def move_address(request: HttpRequest, user: User, old: str) -> None:
    """After staff moved an account to another address: what was known of the old one holds no more, and both hear of it."""
    set_address(user, verified=False)
    tell_old_address(request, user, old)
    send_verification(request, user)


def tell_old_address(request: HttpRequest, user: User, old: str) -> None:
    """Warn the address that was the account's until now."""
    get_adapter(request).send_mail("account/email/address_moved", old, {"user": user, "request": request})
