"""What people have set for lists. A list has the name of its URL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.http import HttpRequest

from accounts.models import ListSetting

PAGES = {
    "users:list": "Users",
    "admin:tiers_tier_changelist": "Tiers",
    "admin:ratelimits_ratelimit_changelist": "Rate limits",
    "admin:apikeys_apikey_changelist": "API keys",
    "admin:auth_group_changelist": "Groups",
    "admin:admin_logentry_changelist": "History",
    "usage:staff_requests": "Requests",
    "usage:own_requests": "Your requests",
}


class Column(NamedTuple):
    name: str
    label: str
    is_shown: bool


@dataclass(frozen=True)
class ListSetup:
    """How a list looks for one person. page: empty if it can't be set. columns: the first is always shown."""

    page: str
    columns: list[Column]

    @property
    def shown(self) -> set[str]:
        return {column.name for column in self.columns if column.is_shown}

    @property
    def hidden(self) -> set[str]:
        return {column.name for column in self.columns if not column.is_shown}


def list_setup(request: HttpRequest, labels: Sequence[tuple[str, str]], extra: Collection[str] = ()) -> ListSetup:
    """labels: name and label of each column. extra: the names of those that aren't shown by default."""
    page = request.resolver_match.view_name if request.resolver_match else ""
    page = page if page in PAGES else ""
    user: Any = request.user
    setting = ListSetting.objects.filter(user=user, page=page).first() if page else None
    known = {name for name, _ in labels}
    # A column may have gone since.
    chosen = known.intersection(setting.columns or () if setting else ()) or known.difference(extra)
    first = labels[0][0]
    return ListSetup(page, [Column(name, label, name == first or name in chosen) for name, label in labels])
