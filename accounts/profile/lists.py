"""The users' settings for lists. A list has the name of its URL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from accounts.models import ListSetting, SavedView

PAGES = {
    "users:list": "Users",
    "admin:tiers_tier_changelist": "Tiers",
    "admin:ratelimits_ratelimit_changelist": "Rate limits",
    "admin:apikeys_apikey_changelist": "API keys",
    "admin:auth_group_changelist": "Groups",
    "admin:admin_logentry_changelist": "History",
    "usage:staff_requests": "Requests",
    "usage:own_requests": "Your requests",
    "keys:list": "Your API keys",
}


class Column(NamedTuple):
    name: str
    label: str
    is_shown: bool


@dataclass(frozen=True)
class ListSetup:
    """How a list looks for one user. page: empty if it can't be set. columns: the first is always shown.

    views: those they can open; view: the one that is open. default_url: of the view to open instead; usually empty.
    """

    page: str
    columns: list[Column]
    chosen: list[str] | None = None
    views: Sequence[SavedView] = ()
    view: SavedView | None = None
    default_url: str = ""

    @cached_property
    def shown(self) -> set[str]:
        return {column.name for column in self.columns if column.is_shown}

    @property
    def hidden(self) -> set[str]:
        return {column.name for column in self.columns if not column.is_shown}


def list_setup(request: HttpRequest, labels: Sequence[tuple[str, str]], extra: Collection[str] = ()) -> ListSetup:
    """labels: name and label of each column. extra: the names of those that aren't shown by default."""
    user: Any = request.user
    page = request.resolver_match.view_name if request.resolver_match else ""
    if page not in PAGES:
        return ListSetup("", columns_of(labels, None, extra))
    setting = ListSetting.objects.filter(user=user, page=page).first() or ListSetting(user=user, page=page)
    views = list(visible_views(user).filter(page=page))
    by_id = {str(view.pk): view for view in views}
    default = by_id.get(str(setting.default_view_id))
    view = by_id.get(request.GET.get("view", ""))
    chosen = setting.columns if view is None or view.columns is None else view.columns
    default_url = f"?{default.full_query}" if default and not request.GET else ""
    return ListSetup(page, columns_of(labels, chosen, extra), chosen, views, view, default_url)


def columns_of(labels: Sequence[tuple[str, str]], chosen: list[str] | None, extra: Collection[str]) -> list[Column]:
    known = {name for name, _ in labels}
    # A column may have been removed since it was chosen.
    shown = known.intersection(chosen or ()) or known.difference(extra)
    return [Column(name, label, name == labels[0][0] or name in shown) for name, label in labels]


def visible_views(user: Any) -> QuerySet[SavedView]:
    """The user's own views and, for staff, shared ones."""
    views = SavedView.objects.filter(Q(user=user) | Q(is_shared=True) if user.is_staff else Q(user=user))
    return views.filter(page__in=PAGES).select_related("user")
