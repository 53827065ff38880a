"""The filters of the list of your own keys."""

from __future__ import annotations

from typing import cast

import django_filters
from django.utils.functional import cached_property

from apikeys.models import APIKey, APIKeyQuerySet, KeyState
from config.base.filters import MAX_SEARCH_LENGTH, FilterBar, FilterBarBuilder, SearchInput

IN_USE, ENDED, ALL = "in_use", "ended", "all"
SHOWN = (
    (IN_USE, "In use"),
    (KeyState.ACTIVE.value, "Active"),
    (KeyState.DISABLED.value, "Disabled"),
    (ENDED, "Revoked or expired"),
    (ALL, "All"),
)


class OwnKeyFilter(django_filters.FilterSet):  # type: ignore[misc]
    q = django_filters.CharFilter(
        label="Search",
        method="filter_q",
        max_length=MAX_SEARCH_LENGTH,
        widget=SearchInput("Search by name, start or end of the secret"),
    )
    show = django_filters.ChoiceFilter(
        label="State", method="filter_show", choices=SHOWN, empty_label=None, initial=IN_USE
    )

    class Meta:
        model = APIKey
        fields = ()

    def filter_queryset(self, queryset: APIKeyQuerySet) -> APIKeyQuerySet:
        keys = queryset if self.form.cleaned_data.get("show") else queryset.in_use()
        return cast(APIKeyQuerySet, super().filter_queryset(keys))

    def filter_q(self, keys: APIKeyQuerySet, name: str, value: str) -> APIKeyQuerySet:
        return keys.matching(value)

    def filter_show(self, keys: APIKeyQuerySet, name: str, value: str) -> APIKeyQuerySet:
        if value in KeyState:
            return keys.in_state(KeyState(value))
        return {IN_USE: keys.in_use, ENDED: keys.ended, ALL: keys.all}[value]()

    @cached_property
    def bar(self) -> FilterBar:
        return FilterBarBuilder(self.form, self.data).build(["show"], search="q")
