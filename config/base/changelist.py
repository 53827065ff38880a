"""Admin lists: which filters a URL may use, each row once, and rows without a value last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Page
from django.db.models import F, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.http import HttpRequest, QueryDict
from django.utils.text import capfirst

from config.base.filters import Chip, Choice, FilterBar, Menu, SearchForm, hidden_values
from config.base.paginator import rows_per_page
from config.base.views import BadRequestFor

# Django would show the unfiltered list.
reject_bad_filters = BadRequestFor(IncorrectLookupParameters, text="A filter has an invalid value.")


# What else a URL of a list may have: the format of an export, and the saved view that is open.
NO_FILTERS = {"format", "view"}


class GatehouseChangeList(ChangeList):
    def get_results(self, request: HttpRequest) -> None:
        self.list_per_page = rows_per_page(request)
        super().get_results(request)

    @property
    def page(self) -> Page[Any]:
        found: Page[Any] = self.paginator.get_page(self.page_num)
        return found

    @property
    def bar(self) -> FilterBar:
        section, data = self.model_admin, QueryDict(self.get_query_string().removeprefix("?"))
        form = SearchForm(data, nouns=section.section_name, help_text=self.search_help_text or "")  # type: ignore[attr-defined]
        found = [(spec, self.menu_of(spec)) for spec in self.filter_specs]
        return FilterBar(
            search=form["q"] if self.search_fields else None,
            menus=[menu for _, menu in found],
            chips=list(self.chips(found)),
            hidden=hidden_values(data, ["q"]),
        )

    def menu_of(self, spec: Any) -> Menu:
        choices = [
            Choice(str(choice["display"]), choice["query_string"].removeprefix("?"), choice["selected"])
            for choice in spec.choices(self)
        ]
        is_active = any(name in self.filter_params for name in spec.expected_parameters() if name)
        return Menu(str(capfirst(spec.title)), choices, is_active=is_active)

    def chips(self, found: Sequence[tuple[Any, Menu]]) -> Iterator[Chip]:
        if self.query:
            yield Chip("Search", self.query, self.query_without("q"))
        for spec, menu in found:
            if menu.is_active:
                value = ", ".join(choice.label for choice in menu.choices if choice.is_selected) or "set"
                yield Chip(menu.label, value, self.query_without(*filter(None, spec.expected_parameters())))

    def query_without(self, *names: str) -> str:
        return self.get_query_string(remove=[*names, "p"]).removeprefix("?")

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        return {name: value for name, value in super().get_filters_params(params).items() if name not in NO_FILTERS}

    def get_filters(self, request: HttpRequest) -> Any:
        """Allow only the list's own filters and `allowed_lookups` in the URL.

        Other lookups could reveal fields that the list doesn't show, such as a hash, or be expensive, such as regular
        expressions. Raises DisallowedModelAdminLookup and BadRequest.
        """
        filters = reject_bad_filters(super().get_filters)(request)
        others = set(filters[2]) - set(self.model_admin.allowed_lookups)  # type: ignore[attr-defined]
        if others:
            raise DisallowedModelAdminLookup(f"This list has no filter {', '.join(sorted(others))}.")
        return filters

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        return reject_bad_filters(super().get_queryset)(request, exclude_parameters)

    def get_ordering_field(self, field_name: Any) -> Any:
        """Prefer our own columns to relations of the same name, and don't order by to-many relations."""
        column = getattr(self.model_admin, str(field_name), None)
        if callable(column):
            return getattr(column, "admin_order_field", None)
        field = super().get_ordering_field(field_name)
        return None if isinstance(field, str) and leads_to_many(self.model, field) else field

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Rows without a value come last in both directions: PostgreSQL and SQLite disagree on NULL."""
        return [self.nulls_last(part) for part in super().get_ordering(request, queryset)]

    def nulls_last(self, part: Any) -> Any:
        name = part.removeprefix("-") if isinstance(part, str) else ""
        if not name or not may_be_null(self.model, name):
            return part
        column = F(name)
        return column.desc(nulls_last=True) if part.startswith("-") else column.asc(nulls_last=True)


def fields_of(model: Any, path: str) -> Iterator[Any]:
    """The fields on a path such as `user__tier__name`. Raises FieldDoesNotExist for an annotation."""
    for name in path.split(LOOKUP_SEP):
        field = model._meta.pk if name == "pk" else model._meta.get_field(name)
        yield field
        model = field.related_model


def leads_to_many(model: Any, path: str) -> bool:
    try:
        return any(field.one_to_many or field.many_to_many for field in fields_of(model, path.removeprefix("-")))
    except FieldDoesNotExist:
        return False


def may_be_null(model: Any, path: str) -> bool:
    try:
        return any(field.null for field in fields_of(model, path))
    except FieldDoesNotExist:
        return True
