"""Warn before a key expires: the holder and a team address, 30, 14, 7 and 1 days ahead, once each."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from apikeys.models import APIKey, ExpiryNotice
from config.base.mail import MAIL_ERRORS, is_temporary, log_failure
from config.base.text import counted

logger = logging.getLogger(__name__)

DAYS_AHEAD = (1, 7, 14, 30)
# A run that was killed between claiming and sending leaves its claim; after that time another run takes it over.
CLAIM_LIFE = timedelta(hours=1)
BATCH = 500


def due_notices() -> Iterator[tuple[APIKey, int]]:
    """The keys that expire soon and whose holder was not told yet, each with the days of its notice (1, 7, 14 or 30)."""
    now = timezone.now()
    for days, nearer in zip(DAYS_AHEAD, (0, *DAYS_AHEAD), strict=False):
        told = ExpiryNotice.objects.filter(api_key=models.OuterRef("pk"), days__lte=days).filter(
            models.Q(sent_at__isnull=False) | models.Q(claimed_at__gt=now - CLAIM_LIFE)
        )
        keys = APIKey.objects.effective().filter(
            ~models.Exists(told),
            expires_at__gt=now + timedelta(days=nearer),
            expires_at__lte=now + timedelta(days=days),
        )
        yield from ((key, days) for key in keys.select_related("user").order_by("pk").iterator(chunk_size=BATCH))


def send(key: APIKey, days: int) -> bool:
    """Tell of one key. Returns False if another run has it. Raises OSError if no mail can be sent now: it is due again.

    The claim is written before the mail goes out and no lock is held meanwhile: a slow mail server must not stop the API.
    """
    if not claim(key, days):
        return False
    try:
        connection = get_connection()
        told = deliver(connection, message_for_holder(key), f"The notice for {key.user}")
        if settings.KEY_EXPIRY_TEAM_EMAIL:
            deliver(
                connection, message_for_team(key, holder_told=told), f"The team's copy of the notice for {key.user}"
            )
    except OSError:
        ExpiryNotice.objects.filter(api_key=key, days=days, sent_at__isnull=True).delete()
        raise
    ExpiryNotice.objects.filter(api_key=key, days=days).update(sent_at=timezone.now())
    return True


def deliver(connection: Any, message: EmailMessage, what: str) -> bool:
    """Send one message; False, and a line in the log, if its address or a header cannot be mailed, now or ever."""
    try:
        connection.send_messages([message])
    except MAIL_ERRORS as error:
        if is_temporary(error):
            raise
        log_failure(logger, what, error)
        return False
    return True


def claim(key: APIKey, days: int) -> bool:
    now = timezone.now()
    try:
        with transaction.atomic():
            ExpiryNotice.objects.create(api_key=key, days=days, claimed_at=now)
    except IntegrityError:
        stale = ExpiryNotice.objects.filter(
            api_key=key, days=days, sent_at__isnull=True, claimed_at__lte=now - CLAIM_LIFE
        )
        return bool(stale.update(claimed_at=now))
    return True


def message_for_holder(key: APIKey) -> EmailMessage:
    advice = (
        "From then on every request with it is refused. An expiry cannot be put off: make a new key under “API keys” in your "
        "account and put it where this one is used.\n"
    )
    return EmailMessage(subject(key), f"Hello {key.user.name},\n\n{facts(key)}\n{advice}", to=[key.user.email])


def message_for_team(key: APIKey, *, holder_told: bool) -> EmailMessage:
    note = "" if holder_told else "\nThe owner doesn't know: no mail can be sent to their address.\n"
    body = f"{facts(key)}{note}"
    return EmailMessage(f"{subject(key)} ({key.user.username})", body, to=[settings.KEY_EXPIRY_TEAM_EMAIL])


def subject(key: APIKey) -> str:
    left = max(1, math.ceil((key.expires_at - timezone.now()) / timedelta(days=1))) if key.expires_at else 0
    # A header is one line, whatever the name of an old key holds.
    return f"API key “{' '.join(key.name.split())}” expires in {counted(left, 'day')}"


def facts(key: APIKey) -> str:
    used = f"{key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never"
    return (
        f"Key: {key.name} ({key.shown_as})\nHolder: {key.user.username}\n"
        f"Expires: {key.expires_at:%Y-%m-%d %H:%M} UTC\nLast used: {used}\n"
    )
