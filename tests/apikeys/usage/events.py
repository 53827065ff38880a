"""Create usage events at any time, and keys with an entry in the history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils import timezone

from apikeys.models import KeyUsage
from apikeys.services import issue_key
from config.base.history import Author


def issue_key_to(owner, name="a key", **options):
    return issue_key(owner, Author(owner), name=name, **options)[0]


def event(key, ago=timedelta(0), *, at=None, **fields):
    defaults = {"endpoint": "/orders", "method": "GET", "status_code": 200}
    created_at = at or timezone.now() - ago
    return KeyUsage.objects.create(api_key=key, user_id=key.user_id, created_at=created_at, **(defaults | fields))


def day(*parts):
    return datetime(*parts, tzinfo=UTC)
