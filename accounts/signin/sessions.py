from __future__ import annotations

from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import User

MAX_SESSIONS = 20


def open_sessions(user: User) -> list[UserSession]:
    """The sessions that have neither expired nor been ended, the last used first."""
    known = list(UserSession.objects.filter(user=user).order_by("-last_seen_at")[:MAX_SESSIONS])
    stored = Session.objects.filter(session_key__in=[row.session_key for row in known], expire_date__gt=timezone.now())
    hashes = {user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()}
    open_keys = {row.session_key for row in stored if row.get_decoded().get("_auth_user_hash") in hashes}
    return [row for row in known if row.session_key in open_keys]
