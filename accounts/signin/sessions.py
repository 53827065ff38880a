"""The open sessions of an account, for the people who may see them."""

from __future__ import annotations

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import User

MOST_SHOWN = 20


def open_sessions(user: User) -> list[UserSession]:
    """The sessions that are still good, the last used first: not expired, and begun under the present epoch."""
    known = list(UserSession.objects.filter(user=user).order_by("-last_seen_at")[:MOST_SHOWN])
    stored = Session.objects.filter(session_key__in=[row.session_key for row in known], expire_date__gt=timezone.now())
    present = {user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()}
    good = {row.session_key for row in stored if row.get_decoded().get("_auth_user_hash") in present}
    return [row for row in known if row.session_key in good]
