"""Email the owner of a key, and a team, 30, 14, 7 and 1 days before it expires."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from datetime import UTC, timedelta
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection
from django.db import IntegrityError, models, transaction
from django.urls import reverse
from django.utils import timezone

from apikeys.models import APIKey, ExpiryNotice
from config.base.html_mail import attach_html
from config.base.mail import MAIL_ERRORS, is_temporary, log_failure
from config.base.site import site_link
from config.base.text import counted, local_minute

logger = logging.getLogger(__name__)

DAYS_AHEAD = (1, 7, 14, 30)
# If a run is killed between claiming and sending a notice, another run may send it after this time.
CLAIM_TIMEOUT = timedelta(hours=1)
BATCH = 500


def due_notices() -> Iterator[tuple[APIKey, int]]:
    """(key, days before expiry) of each notice that hasn't been sent."""
    now = timezone.now()
    for days, nearer in zip(DAYS_AHEAD, (0, *DAYS_AHEAD), strict=False):
        sent = ExpiryNotice.objects.filter(api_key=models.OuterRef("pk"), days__lte=days).filter(
            models.Q(sent_at__isnull=False) | models.Q(claimed_at__gt=now - CLAIM_TIMEOUT)
        )
        keys = APIKey.objects.effective().filter(
            ~models.Exists(sent),
            expires_at__gt=now + timedelta(days=nearer),
            expires_at__lte=now + timedelta(days=days),
        )
        yield from ((key, days) for key in keys.select_related("user").order_by("pk").iterator(chunk_size=BATCH))


def send(key: APIKey, days: int) -> bool:
    """Send a notice. Returns False if another run sends it. Raises OSError if it can't be sent now, and leaves it due.

    It is claimed first and then sent without a lock: a slow mail server must not block the API.
    """
    if not claim(key, days):
        return False
    try:
        connection = get_connection()
        delivered = deliver(connection, owner_message(key), f"The notice for {key.user}")
        if settings.KEY_EXPIRY_TEAM_EMAIL:
            message = team_message(key, owner_notified=delivered)
            deliver(connection, message, f"The team's copy of the notice for {key.user}")
    except OSError:
        ExpiryNotice.objects.filter(api_key=key, days=days, sent_at__isnull=True).delete()
        raise
    ExpiryNotice.objects.filter(api_key=key, days=days).update(sent_at=timezone.now())
    return True


def deliver(connection: Any, message: EmailMessage, what: str) -> bool:
    """Send one message. Logs and returns False if it can never be sent, for example because of its address."""
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
            api_key=key, days=days, sent_at__isnull=True, claimed_at__lte=now - CLAIM_TIMEOUT
        )
        return bool(stale.update(claimed_at=now))
    return True


def owner_message(key: APIKey) -> EmailMessage:
    advice = (
        "After that, requests with this key are denied. You can't extend it: create a new key under “API keys” in your "
        "account and use it instead."
    )
    links = links_to(reverse("keys:detail", args=[key.pk]), f"{reverse('usage:account')}?key={key.pk}")
    with timezone.override(key.user.zone):
        return message(subject(key), f"Hi {key.user.name},", facts(key), advice, *links, to=key.user.email)


def team_message(key: APIKey, *, owner_notified: bool) -> EmailMessage:
    notes = [] if owner_notified else ["The owner wasn't notified: their address can't receive email."]
    links = links_to(reverse("admin:apikeys_apikey_change", args=[key.pk]), f"{reverse('usage:staff')}?key={key.pk}")
    title = f"{subject(key)} ({key.user.username})"
    with timezone.override(UTC):
        return message(title, facts(key), *notes, *links, to=settings.KEY_EXPIRY_TEAM_EMAIL)


def message(title: str, *paragraphs: str, to: str) -> EmailMessage:
    return attach_html(EmailMultiAlternatives(title, "\n\n".join(paragraphs) + "\n", to=[to]))


def links_to(key_page: str, usage_page: str) -> list[str]:
    """Paragraphs that html_mail turns into buttons. None without SITE_URL."""
    pages = {"Open this key": key_page, "See its usage": usage_page}
    return [f"{label}:\n{site_link(page)}" for label, page in pages.items() if settings.SITE_URL]


def subject(key: APIKey) -> str:
    left = max(1, math.ceil((key.expires_at - timezone.now()) / timedelta(days=1))) if key.expires_at else 0
    return f"{settings.ACCOUNT_EMAIL_SUBJECT_PREFIX}API key “{name_of(key)}” expires in {counted(left, 'day')}"


def name_of(key: APIKey) -> str:
    """On one line: names of old keys may contain line breaks, but headers must not."""
    return " ".join(key.name.split())


def facts(key: APIKey) -> str:
    """With times in the current time zone."""
    used, expires = (local_minute(time) if time else "never" for time in (key.last_used_at, key.expires_at))
    return f"Key: {name_of(key)} ({key.shown_as})\nOwner: {key.user.username}\nExpires: {expires}\nLast used: {used}"
