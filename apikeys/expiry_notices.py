"""Warn before a key expires: the holder and a team address, 30, 14, 7 and 1 days ahead, once each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from apikeys.models import APIKey, ExpiryNotice
from config.base_text import counted

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
    """Tell of one key. Returns False if another run has it. Raises OSError if the mail cannot be sent: it is due again.

    The claim is written before the mail goes out and no lock is held meanwhile: a slow mail server must not stop the API.
    """
    if not claim(key, days):
        return False
    try:
        get_connection().send_messages(messages_for(key))
    except OSError:
        ExpiryNotice.objects.filter(api_key=key, days=days, sent_at__isnull=True).delete()
        raise
    ExpiryNotice.objects.filter(api_key=key, days=days).update(sent_at=timezone.now())
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


def messages_for(key: APIKey) -> list[EmailMessage]:
    left = max(1, math.ceil((key.expires_at - timezone.now()) / timedelta(days=1))) if key.expires_at else 0
    subject = f"API key “{key.name}” expires in {counted(left, 'day')}"
    used = f"{key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never"
    facts = (
        f"Key: {key.name} ({key.shown_as})\nHolder: {key.user.username}\n"
        f"Expires: {key.expires_at:%Y-%m-%d %H:%M} UTC\nLast used: {used}\n"
    )
    advice = (
        "From then on every request with it is refused. An expiry cannot be put off: make a new key under “API keys” in your "
        "account and put it where this one is used.\n"
    )
    messages = [EmailMessage(subject, f"Hello {key.user.name},\n\n{facts}\n{advice}", to=[key.user.email])]
    if settings.KEY_EXPIRY_TEAM_EMAIL:
        messages.append(EmailMessage(f"{subject} ({key.user.username})", facts, to=[settings.KEY_EXPIRY_TEAM_EMAIL]))
    return messages
