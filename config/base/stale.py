"""Forms that detect concurrent changes: they write only what the user changed, and report what others changed since.

A page has a signed fingerprint of each field as it was shown. A field the user left alone keeps the row's present value.
If the user and someone else both changed a field, the form is rejected once. Without the token (a script's request), the
present row counts as what was shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from django import forms
from django.core import signing
from django.core.exceptions import ValidationError
from django.db import IntegrityError, models
from django.forms.boundfield import BoundField
from django.forms.formsets import DELETION_FIELD_NAME, INITIAL_FORM_COUNT, TOTAL_FORM_COUNT
from django.forms.models import model_to_dict
from django.http import QueryDict
from django.utils.crypto import salted_hmac
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.base.forms import LiveChoicesForm
from config.base.history import MAX_VALUE_LENGTH, display, entry_since, entry_that_set, snapshot, stored_values
from config.base.models import lock_live
from config.base.text import ago

SALT = "config.base.stale"
# The name of the hidden field; no model field begins with an underscore.
TOKEN = "_opened"  # noqa: S105
UNREADABLE = "We can't tell what this page looked like when you opened it. Check all fields and save again."


class ConcurrentChange(IntegrityError):
    """The row changed after the form was validated. `retry_on_conflict` runs the view again."""


class Opened(NamedTuple):
    """The contents of a token: fingerprints by field name, and the time the page was opened (Unix seconds)."""

    fields: dict[str, str]
    at: int


def fingerprint(values: list[str]) -> str:
    return salted_hmac(SALT, json.dumps(values), algorithm="sha256").hexdigest()[:20]


def seal(subject: str, fields: dict[str, str]) -> str:
    return signing.dumps([subject, fields, int(time.time())], salt=SALT, compress=True)


def unseal(token: Any, subject: str) -> Opened | None:
    if not token:
        return None
    found, fields, at = signing.loads(str(token), salt=SALT)
    if found != subject:
        raise signing.BadSignature(subject)
    return Opened(fields, at)


def subject_of(row: models.Model, part: str = "") -> str:
    return f"{row._meta.label_lower} {row.pk} {part}"


# --- Fields as a browser sends them ----------------------------------------------------------------------------------


def shown(field: forms.Field, value: Any) -> list[str]:
    """What a browser sends for an unchanged field that shows `value`."""
    if isinstance(field.widget, forms.CheckboxInput):
        return ["on"] if value else []
    if isinstance(field.widget, forms.MultiWidget):
        return [str(part) for part in field.widget.decompress(value) or ()]
    text = field.widget.format_value(field.prepare_value(value))
    if isinstance(text, list):
        return sorted(map(str, text))
    return [with_plain_newlines("" if text is None else str(text))]


def sent(field: forms.Field, data: Any, name: str) -> list[str]:
    """What a browser sent for the field, in the same form as `shown`."""
    value = field.widget.value_from_datadict(data, {}, name)
    if isinstance(field.widget, forms.CheckboxInput):
        return ["on"] if value else []
    if isinstance(field.widget, forms.MultiWidget):
        return ["" if part is None else str(part) for part in value]
    if isinstance(value, list):
        return sorted(map(str, value))
    return [with_plain_newlines("" if value is None else str(value))]


def inputs(field: forms.Field, name: str, values: list[str]) -> dict[str, list[str]]:
    """The values of `shown` by the names that a browser sends them under."""
    if isinstance(field.widget, forms.MultiWidget):
        names = [f"{name}{suffix}" for suffix in field.widget.widgets_names]  # type: ignore[attr-defined]  # (not in django-stubs)
        return {part: [value] for part, value in zip(names, values, strict=True)}
    return {name: values}


def with_plain_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def put(data: Any, name: str, values: list[str]) -> None:
    data.pop(name, None)
    if values:
        data.setlist(name, values)


def change_in_words(row: models.Model, label: str, value: str) -> str:
    entry = entry_that_set(row, label, value)
    who, when = (str(entry.user), f" {ago(entry.action_time)}") if entry else ("Someone", "")
    text = value if len(value) <= MAX_VALUE_LENGTH else f"{value[:MAX_VALUE_LENGTH]}…"
    return f"{who} changed this to “{text}”{when}, while you had this page open. Save again to overwrite it with yours."


# --- Forms -----------------------------------------------------------------------------------------------------------


class StaleGuard(forms.BaseForm):
    """Detects concurrent changes of a row. Its page needs `{{ form.opened }}` in the form element."""

    # Fields the form checks itself.
    unguarded: frozenset[str] = frozenset()
    was: Opened | None = None

    @property
    def opened_row(self) -> models.Model | None:
        raise NotImplementedError

    @property
    def opened(self) -> SafeString:
        row = self.opened_row
        if row is None:
            return SafeString("")
        token = seal(subject_of(row), self.fingerprints())
        return format_html('<input type="hidden" name="{}" value="{}">', self.add_prefix(TOKEN), token)

    def fingerprints(self) -> dict[str, str]:
        return {bound.name: fingerprint(shown(bound.field, bound.initial)) for bound in self.guarded()}

    def guarded(self) -> Iterator[BoundField]:
        for name, field in self.fields.items():
            if not field.disabled and name not in self.unguarded:
                yield self[name]

    def full_clean(self) -> None:
        self.conflicts: dict[str | None, str] = {}
        row = self.opened_row
        if self.is_bound and row is not None:
            try:
                self.was = unseal(self.data.get(self.add_prefix(TOKEN)), subject_of(row))
            except signing.BadSignature:
                self.conflicts[None] = UNREADABLE
            if self.was is not None:
                self.merge(row, self.was.fields)
        super().full_clean()

    def merge(self, row: models.Model, was: dict[str, str]) -> None:
        """Give unchanged fields the row's present values, and collect those that two people changed."""
        data: Any = self.data.copy()  # type: ignore[attr-defined]
        for bound in self.guarded():
            now, typed = shown(bound.field, bound.initial), sent(bound.field, data, bound.html_name)
            if fingerprint(now) == was.get(bound.name) or typed == now:
                continue
            # The page may not have had the field if the user lacked the permission then.
            if was.get(bound.name, fingerprint(typed)) == fingerprint(typed):
                for name, values in inputs(bound.field, bound.html_name, now).items():
                    put(data, name, values)
            else:
                self.conflicts[bound.name] = self.conflict_message(row, bound.name)
        self.data = data

    def conflict_message(self, row: models.Model, name: str) -> str:
        field: Any = row._meta.get_field(name)
        return change_in_words(row, str(field.verbose_name), display(row, field))

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        for name, text in self.conflicts.items():
            self.add_error(name, ValidationError(text, code="concurrent_change"))
        return cleaned


class EditForm(StaleGuard, LiveChoicesForm):
    """The model form for every page that edits a row."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.loaded = stored_values(self.instance)

    @property
    def opened_row(self) -> models.Model | None:
        return None if self.instance._state.adding else self.instance

    def full_clean(self) -> None:
        if self.is_bound and self.opened_row is not None:
            self.before = snapshot(self.opened_row)  # cleaning writes to the instance
        super().full_clean()

    def written_fields(self) -> list[str]:
        """The columns the user changed, and those that the model's validation changed as a result."""
        now = stored_values(self.instance)
        return [name for name, value in self.loaded.items() if now[name] != value]

    def lock_row(self) -> None:
        """Lock the row until this transaction ends. Raises ConcurrentChange if it changed after validation."""
        self.lock_parents()
        row = (
            type(self.instance)
            ._base_manager.select_for_update(no_key=True, of=("self",))
            .filter(pk=self.instance.pk)
            .first()
        )
        if row is None or stored_values(row) != self.loaded or self.relations_of(row) != self.relations_of(None):
            raise ConcurrentChange(f"{self.instance._meta.label} {self.instance.pk} has changed")

    def lock_parents(self) -> None:
        """Lock what must be locked before the row: its new parents, in the same order as deletion."""
        for name in set(self.written_fields()) & set(getattr(self.instance, "live_parents", ())):
            parent = getattr(self.instance, name)
            if parent is not None:
                lock_live(parent)

    def relations_of(self, row: models.Model | None) -> dict[str, list[str]]:
        fields = {
            bound.name: bound for bound in self.guarded() if isinstance(bound.field, forms.ModelMultipleChoiceField)
        }
        values = model_to_dict(row, fields=list(fields)) if row is not None else self.initial
        return {name: shown(bound.field, values.get(name)) for name, bound in fields.items()}

    def save_changes(self) -> None:
        fields = self.written_fields()
        if fields:
            self.instance.save(update_fields=fields)
        self._save_m2m()  # type: ignore[attr-defined]  # (not in django-stubs)


# --- Tables of rows --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PostedRow:
    """A row of a table as it was sent: its values by input name."""

    pk: str
    cells: dict[str, list[str]]

    @property
    def is_removed(self) -> bool:
        return bool(self.cells.get(DELETION_FIELD_NAME))


class StaleRows(forms.BaseInlineFormSet):  # type: ignore[type-arg]
    """Detects concurrent changes of the rows of an inline table."""

    model: Any
    prefix: Any

    def __init__(self, data: Any = None, *args: Any, **options: Any) -> None:
        super().__init__(data, *args, **options)
        self.conflicts: list[str] = []
        self.checked = self.fingerprints(self.get_queryset())
        if self.is_bound:
            self.receive()

    def receive(self) -> None:
        self.data = data = self.data.copy()  # type: ignore[attr-defined]
        if f"{self.prefix}-{TOTAL_FORM_COUNT}" not in data:
            self.put_rows(data, map(self.as_posted, self.get_queryset()), [])  # scripts may leave the table out
        subject = subject_of(self.instance, self.prefix)
        try:
            opened = unseal(data.get(self.token_name), subject)
        except signing.BadSignature:
            opened = None
            self.conflicts.append(UNREADABLE)
        counts = [data.get(f"{self.prefix}-{name}", "") for name in (INITIAL_FORM_COUNT, TOTAL_FORM_COUNT)]
        if opened is not None and all(count.isascii() and count.isdecimal() for count in counts):
            self.merge(data, opened, *map(int, counts))
        # If the form is shown again, it counts as opened now.
        put(data, self.token_name, [seal(subject, self.checked)])

    @property
    def token_name(self) -> str:
        return f"{self.prefix}-{TOKEN}"

    @cached_property
    def management_form(self) -> Any:
        form: Any = super().management_form
        form.fields[TOKEN] = forms.CharField(widget=forms.HiddenInput, required=False)
        form.initial[TOKEN] = seal(subject_of(self.instance, self.prefix), self.checked)
        return form

    def cell_fields(self) -> dict[str, forms.Field]:
        fields: dict[str, forms.Field] = self.form.base_fields
        return {name: field for name, field in fields.items() if not field.disabled}

    def cells_of(self, row: Any) -> dict[str, list[str]]:
        values = model_to_dict(row)
        return {name: shown(field, values.get(name)) for name, field in self.cell_fields().items()}

    def fingerprints(self, rows: Iterable[Any]) -> dict[str, str]:
        return {str(row.pk): fingerprint_of_row(self.cells_of(row)) for row in rows}

    def merge(self, data: Any, opened: Opened, initial: int, total: int) -> None:
        """Rewrite the table in `data`: first the existing rows, then those to add."""
        present = {str(row.pk): row for row in self.get_queryset()}
        posted = [self.take_row(data, number) for number in range(min(total, self.absolute_max))]
        kept = [self.merged(row, present.get(row.pk), opened) for row in posted[:initial]]
        seen = {row.pk for row in posted[:initial]} | opened.fields.keys()
        kept += [self.as_posted(row) for pk, row in present.items() if pk not in seen]
        existing = [row for row in kept if row and row.pk]
        new = [row for row in [*kept, *posted[initial:]] if row and not row.pk]
        self.put_rows(data, existing, new)

    def put_rows(self, data: Any, existing: Iterable[PostedRow], new: Iterable[PostedRow]) -> None:
        existing = list(existing)
        rows = [*existing, *new]
        for number, row in enumerate(rows):
            for name, values in row.cells.items():
                put(data, f"{self.prefix}-{number}-{name}", values)
        put(data, f"{self.prefix}-{INITIAL_FORM_COUNT}", [str(len(existing))])
        put(data, f"{self.prefix}-{TOTAL_FORM_COUNT}", [str(len(rows))])

    def take_row(self, data: Any, number: int) -> PostedRow:
        start = f"{self.prefix}-{number}-"
        cells = {name.removeprefix(start): data.pop(name) for name in list(data) if name.startswith(start)}
        return PostedRow("".join(cells.get(self.model._meta.pk.name, [])), cells)

    def as_posted(self, row: Any) -> PostedRow:
        names = {self.model._meta.pk.name: [str(row.pk)], self.fk.name: [str(self.instance.pk)]}
        fields, cells = self.cell_fields(), self.cells_of(row)
        parts = {part: sent for name in cells for part, sent in inputs(fields[name], name, cells[name]).items()}
        return PostedRow(str(row.pk), parts | names)

    def merged(self, posted: PostedRow, row: Any, opened: Opened) -> PostedRow | None:
        """The row to process; None if it has been removed and the user didn't change it."""
        was, typed = opened.fields.get(posted.pk), self.typed(posted)
        now = self.cells_of(row) if row is not None else None
        if was is None or (
            now is not None and (fingerprint_of_row(now) == was or (typed == now and not posted.is_removed))
        ):
            return posted
        left_alone = fingerprint_of_row(typed) == was and not posted.is_removed
        if now is None:
            return None if left_alone or posted.is_removed else self.removed_since(posted, opened)
        if left_alone:
            return self.as_posted(row)
        self.conflicts.append(f"{self.last_author(opened)} changed a row to “{row}” while you had this page open. "
                              "Save again to overwrite it with yours.")  # fmt: skip
        return posted

    def removed_since(self, posted: PostedRow, opened: Opened) -> PostedRow:
        values = [value for name in self.cell_fields() for value in posted.cells.get(name, [])]
        words = " ".join(filter(None, values))
        self.conflicts.append(
            f"{self.last_author(opened)} removed the row that is now “{words}” while you had this page open. "
            "Save again to add it."
        )
        return PostedRow("", posted.cells | {self.model._meta.pk.name: [""]})

    def typed(self, posted: PostedRow) -> dict[str, list[str]]:
        data = QueryDict(mutable=True)
        for name, values in posted.cells.items():
            data.setlist(name, values)
        return {name: sent(field, data, name) for name, field in self.cell_fields().items()}

    def last_author(self, opened: Opened) -> str:
        entry = entry_since(self.instance, opened.at)
        return str(entry.user) if entry else "Someone"

    def clean(self) -> None:
        super().clean()
        if self.conflicts:
            raise ValidationError(self.conflicts, code="concurrent_change")

    def save(self, commit: bool = True) -> Any:
        """Lock the parent row first. Raises ConcurrentChange if the table changed after validation."""
        if self.fingerprints(self.get_queryset().all()) != self.checked:
            raise ConcurrentChange(f"{self.prefix} of {self.instance.pk} has changed")
        return super().save(commit)


def fingerprint_of_row(cells: dict[str, list[str]]) -> str:
    return fingerprint([value for name in sorted(cells) for value in (name, *cells[name])])
