"""What stands above every list: the search field, a menu for each filter, and the active filters as chips.

templates/base/filters.html draws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from django import forms
from django.forms.boundfield import BoundField
from django.http import QueryDict
from django.utils import timezone

# Parameters of a URL that say where in the list a page is, or what to answer with.
POSITION = ("page", "p", "before", "after", "format")
MAX_SEARCH_LENGTH = 200
# The names of fields, or a label and the names of the fields in one menu.
Layout = Sequence[str | tuple[str, ...]]


@dataclass(frozen=True)
class Chip:
    """An active filter. query: of the list without it."""

    label: str
    value: str
    query: str


@dataclass(frozen=True)
class Choice:
    """query: of the list with this choice."""

    label: str
    query: str
    is_selected: bool = False


@dataclass(frozen=True)
class Menu:
    """A filter: links to its `choices`, or `fields` that are sent together with the search."""

    label: str
    choices: Sequence[Choice] = ()
    fields: Sequence[BoundField] = ()
    errors: Sequence[str] = ()
    note: str = ""
    is_active: bool = False

    @property
    def is_invalid(self) -> bool:
        return bool(self.errors) or any(field.errors for field in self.fields)

    @property
    def css_class(self) -> str:
        return "filter-invalid" if self.is_invalid else "filter-active" if self.is_active else ""


@dataclass(frozen=True)
class FilterBar:
    """hidden: parameters that have no field, but are kept."""

    search: BoundField | None
    menus: Sequence[Menu]
    chips: Sequence[Chip]
    hidden: Sequence[tuple[str, str]]

    @property
    def open(self) -> Menu | None:
        """The first menu with an error."""
        return next((menu for menu in self.menus if menu.is_invalid), None)


class SearchForm(forms.Form):
    """For a list whose only field is the search. nouns: what it lists."""

    q = forms.CharField(label="Search", required=False, max_length=MAX_SEARCH_LENGTH)

    def __init__(self, data: Any, *, nouns: str, help_text: str = "") -> None:
        super().__init__(data)
        self.fields["q"].help_text = help_text
        self.fields["q"].widget = SearchInput(f"Search {nouns}")
        self.fields["q"].widget.attrs["maxlength"] = str(MAX_SEARCH_LENGTH)

    @property
    def text(self) -> str:
        return str(self.cleaned_data["q"]) if self.is_valid() else ""


class SearchInput(forms.TextInput):
    input_type = "search"

    def __init__(self, placeholder: str, css_class: str = "") -> None:
        super().__init__({"placeholder": placeholder, "aria-label": placeholder, "class": css_class})


def query_without(data: Any, *names: str) -> str:
    """The query string of `data` without `names` and without the place in the list."""
    query = data.copy() if isinstance(data, QueryDict) else QueryDict(mutable=True)
    for name in (*names, *POSITION):
        query.pop(name, None)
    return str(query.urlencode())


def query_with(data: Any, name: str, value: str) -> str:
    rest = QueryDict(query_without(data, name), mutable=True)
    rest[name] = value
    return str(rest.urlencode())


class FilterBarBuilder:
    """For a list that `form` filters. data: of the URL, without the form's defaults."""

    def __init__(self, form: Any, data: QueryDict, notes: Mapping[str, str] | None = None) -> None:
        """notes: help texts, by the label of the menu."""
        self.form, self.data, self.notes = form, data, notes or {}
        form.is_valid()

    def build(self, layout: Layout = (), *, search: str = "", chips: Iterable[Chip] = ()) -> FilterBar:
        """search: the field that is always visible. chips: additional ones."""
        menus = [self.menu(part) for part in layout]
        typed = {field.name for menu in menus for field in menu.fields} | {search}
        return FilterBar(
            search=self.form[search] if search else None,
            menus=menus,
            chips=[*self.chips([search] if search else ()), *chips, *self.chips_of_menus(layout, menus)],
            hidden=hidden_values(self.data, typed),
        )

    def menu(self, part: str | tuple[str, ...]) -> Menu:
        fields = [self.form[name] for name in names_in(part)]
        label = str(fields[0].label) if isinstance(part, str) else part[0]
        note, is_active = self.notes.get(label, ""), any(self.data.get(field.name) for field in fields)
        if isinstance(fields[0].field, forms.ChoiceField):
            choices = list(self.choices(fields[0]))
            return Menu(label, choices, errors=fields[0].errors, note=note, is_active=is_active)
        return Menu(label, fields=fields, note=note, is_active=is_active)

    def choices(self, field: BoundField) -> Iterator[Choice]:
        name, chosen = field.name, self.data.get(field.name) or field.initial or ""
        for value, label in flat(cast("Any", field.field).choices):
            query = query_with(self.data, name, value) if value else query_without(self.data, name)
            yield Choice(label, query, is_selected=value == chosen)

    def chips_of_menus(self, layout: Layout, menus: Sequence[Menu]) -> Iterator[Chip]:
        for part, menu in zip(layout, menus, strict=True):
            chosen = next((choice.label for choice in menu.choices if choice.is_selected), "")
            yield from self.chips(names_in(part), chosen)

    def chips(self, names: Iterable[str], words: str = "") -> Iterator[Chip]:
        """words: to show instead of the value. An invalid value is shown as it was typed."""
        for name in names:
            if typed := self.data.get(name, "").strip():
                value = words or in_words(self.form.cleaned_data.get(name), typed)
                yield Chip(str(self.form[name].label), value, query_without(self.data, name))


def names_in(part: str | tuple[str, ...]) -> Sequence[str]:
    return [part] if isinstance(part, str) else part[1:]


def flat(choices: Any) -> Iterator[tuple[str, str]]:
    """The choices of a field, without the groups that some are in."""
    for value, label in choices:
        if isinstance(label, list | tuple):
            yield from flat(label)
        else:
            yield str(value), str(label)


def in_words(value: Any, typed: str) -> str:
    if isinstance(value, datetime):
        return f"{timezone.localtime(value):%Y-%m-%d %H:%M:%S}".removesuffix(":00")
    return typed if value is None else str(value)


def hidden_values(data: QueryDict, typed: Iterable[str]) -> list[tuple[str, str]]:
    """The parameters of a URL for which a form has no field, without the place in the list."""
    left_out = {*typed, *POSITION}
    return [(name, value) for name, values in data.lists() if name not in left_out for value in values if value]
