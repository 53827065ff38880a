"""Keys as lists show them: each with its permissions and a month of use, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.html import format_html

from apikeys.models import APIKey, APIKeyQuerySet
from apikeys.usage.analytics import daily_requests
from apikeys.usage.sparklines import Sparkline, sparkline
from config.base.export import export_queryset
from config.base.templatetags import ago

DAYS = 30
# The columns of files of keys; never a secret.
EXPORTED = (
    "id", "user", "name", "prefix", "last4", "is_active", "expires_at", "revoked_at", "revoked_reason",
    "last_used_at", "last_used_ip", "created_at", "deleted_at",
)  # fmt: skip


class KeyRow(NamedTuple):
    key: APIKey
    use: Sparkline

    @property
    def last_used(self) -> str:
        return last_used(self.key)


def last_used(key: APIKey) -> str:
    when = ago(key.last_used_at)
    if not key.last_used_ip:
        return when
    return format_html('{}<br><span class="mono muted">{}</span>', when, key.last_used_ip)


def key_rows(keys: Iterable[APIKey]) -> list[KeyRow]:
    keys = list(keys)
    counts = daily_requests([key.pk for key in keys], DAYS) if keys else {}
    return [KeyRow(key, sparkline(counts[key.pk])) for key in keys]


def export_keys(request: HttpRequest, file_format: str, keys: APIKeyQuerySet, names: Sequence[str]) -> HttpResponseBase:
    fields = [field for field in APIKey._meta.concrete_fields if field.name in names]
    return export_queryset(request, file_format, "apikeys", keys, fields)
