from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import django_filters
from django.db.models import F, OrderBy
from django.http import QueryDict
from django.utils.functional import cached_property

from accounts.managers import UserQuerySet
from accounts.models import User
from config.base.filters import MAX_SEARCH_LENGTH, FilterBar, FilterBarBuilder, SearchInput
from config.base.forms import DayInput
from config.base.text import start_of_day
from tiers.models import Tier

YES_NO = (("yes", "Yes"), ("no", "No"))
STATES = (
    ("active", "Active"),
    ("suspended", "Suspended"),
    ("deleted", "Deleted"),
    ("all", "All, including deleted"),
)
SORTS: dict[str, tuple[str, ...]] = {
    "username": ("username",),
    "name": ("name",),
    "email": ("email",),
    "tier": ("tier__name",),
    "joined": ("created_at",),
    "seen": ("last_login",),
}
NEWEST_FIRST = "-joined"
LAYOUT = (
    "state", "tier", "staff", "verified", "keys", ("Joined", "joined_from", "joined_to"), ("Last seen", "seen_from", "seen_to"),
)  # fmt: skip


class UserFilter(django_filters.FilterSet):  # type: ignore[misc]
    q = django_filters.CharFilter(
        label="Search",
        method="filter_q",
        max_length=MAX_SEARCH_LENGTH,
        widget=SearchInput("Search by name, username or email"),
    )
    state = django_filters.ChoiceFilter(
        label="State", method="filter_state", choices=STATES, empty_label="Live (not deleted)"
    )
    tier = django_filters.ModelChoiceFilter(
        label="Tier", queryset=Tier.objects.live(), null_label="No tier", empty_label="Any"
    )
    staff = django_filters.ChoiceFilter(
        label="Staff", method="filter_staff", choices=(*YES_NO, ("super", "Superusers")), empty_label="Any"
    )
    verified = django_filters.ChoiceFilter(
        label="Email verified", method="filter_verified", choices=YES_NO, empty_label="Any"
    )
    keys = django_filters.ChoiceFilter(label="Has keys", method="filter_keys", choices=YES_NO, empty_label="Any")
    joined_from = django_filters.DateFilter(label="Joined from", method="filter_from", widget=DayInput)
    joined_to = django_filters.DateFilter(label="Joined until", method="filter_to", widget=DayInput)
    seen_from = django_filters.DateFilter(label="Last seen from", method="filter_from", widget=DayInput)
    seen_to = django_filters.DateFilter(label="Last seen until", method="filter_to", widget=DayInput)

    class Meta:
        model = User
        fields = ()

    queryset: UserQuerySet

    def filter_queryset(self, queryset: UserQuerySet) -> UserQuerySet:
        if not self.form.cleaned_data.get("state"):
            queryset = queryset.live()
        found: UserQuerySet = super().filter_queryset(queryset).order_by(*self.ordering())
        return found.matching(self.form.cleaned_data.get("q") or "")

    def filter_q(self, users: UserQuerySet, name: str, value: str) -> UserQuerySet:
        """Do nothing, because search comes last."""
        return users

    def filter_state(self, users: UserQuerySet, name: str, value: str) -> UserQuerySet:
        if value == "active":
            return users.effective()
        if value == "suspended":
            return users.suspended()
        return users.deleted() if value == "deleted" else users

    def filter_staff(self, users: UserQuerySet, name: str, value: str) -> UserQuerySet:
        if value == "super":
            return users.filter(is_superuser=True)
        return users.filter(is_staff=value == "yes")

    def filter_verified(self, users: UserQuerySet, name: str, value: str) -> UserQuerySet:
        return users.verified() if value == "yes" else users.unverified()

    def filter_keys(self, users: UserQuerySet, name: str, value: str) -> UserQuerySet:
        return users.with_keys() if value == "yes" else users.without_keys()

    def filter_from(self, users: UserQuerySet, name: str, value: date) -> UserQuerySet:
        return users.filter(**{f"{date_column(name)}__gte": start_of_day(value)})

    def filter_to(self, users: UserQuerySet, name: str, value: date) -> UserQuerySet:
        return users.filter(**{f"{date_column(name)}__lt": start_of_day(value) + timedelta(days=1)})

    @property
    def sort(self) -> str:
        wanted = str(self.data.get("sort", ""))
        return wanted if wanted.removeprefix("-") in SORTS else NEWEST_FIRST

    def ordering(self) -> Iterable[OrderBy]:
        descending = self.sort.startswith("-")
        columns = (*SORTS[self.sort.removeprefix("-")], "pk")
        # Users who were never seen come last in either direction.
        nulls: dict[str, Any] = {"nulls_last": True} if columns[0] in {"last_login", "tier__name"} else {}
        for column in columns:
            extra = nulls if column != "pk" else {}
            yield F(column).desc(**extra) if descending else F(column).asc(**extra)

    @cached_property
    def bar(self) -> FilterBar:
        return FilterBarBuilder(self.form, self.data).build(LAYOUT, search="q")


def date_column(name: str) -> str:
    return "created_at" if name.startswith("joined") else "last_login"


# The filters of the admin's list that this list has too.
EQUIVALENTS: dict[str, tuple[str, dict[str, str]]] = {
    "state": ("state", {"deleted": "deleted", "all": "all"}),
    "is_active__exact": ("state", {"1": "active", "0": "suspended"}),
    "is_staff__exact": ("staff", {"1": "yes", "0": "no"}),
    "tier__isnull": ("tier", {"True": "null"}),
}


def query_of_users(admin_query: QueryDict) -> str | None:
    """The query string of /users/ for that of the admin's list; None if a part of it has no equivalent."""
    query = QueryDict(mutable=True)
    for name in admin_query:
        own_name, own_value = equivalent(name, str(admin_query[name]))
        if not own_value or own_name in query:
            return None
        query[own_name] = own_value
    return str(query.urlencode())


def equivalent(name: str, value: str) -> tuple[str, str]:
    if name == "q":
        return name, value
    if name == "tier__id__exact":
        is_id = value.isascii() and value.isdecimal()
        return "tier", value if is_id and Tier.objects.live().filter(pk=value).exists() else ""
    own_name, values = EQUIVALENTS.get(name, ("", {}))
    return own_name, values.get(value, "")
