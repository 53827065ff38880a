"""Usage events for tests: `event()` adds one row to the ledger, for any time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils import timezone

from apikeys.models import KeyUsage
from apikeys.services import issue_key
from config.base.history import Author


def make_key(owner, name="a key", **options):
    return issue_key(owner, Author(owner), name=name, **options)[0]


def event(key, ago=timedelta(0), *, at=None, **fields):
    defaults = {"endpoint": "/orders", "method": "GET", "status_code": 200}
    moment = at or timezone.now() - ago
    return KeyUsage.objects.create(api_key=key, user_id=key.user_id, created_at=moment, **(defaults | fields))


def day(*parts):
    return datetime(*parts, tzinfo=UTC)
