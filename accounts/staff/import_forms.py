"""The two forms of an import: choose a file; then check its columns and confirm."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core import signing
from django.core.exceptions import ValidationError

from accounts.staff.imports import FIELDS, LABELS, Columns, guess_columns
from config.base.tables import ENCODINGS, MAX_FILE_SIZE, Row, Table, read_table

SALT = "accounts.staff.import"
MAX_AGE = 3600  # seconds between the preview and the import
# As a form field, which Django limits to 2.5 MB with all others.
MAX_SEALED_LENGTH = 2_400_000


class UploadForm(forms.Form):
    file = forms.FileField(
        label="CSV or XLSX file",
        help_text="The first row names the columns. Only a username is required; new users also need an email address.",
        widget=forms.FileInput(attrs={"accept": ".csv,.xlsx,.txt,.tsv"}),
    )
    encoding = forms.ChoiceField(label="Encoding of a CSV file", choices=ENCODINGS, initial="utf-8", required=False)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "file" in data and "encoding" in data:
            try:
                data["table"] = read_table(data["file"].read(MAX_FILE_SIZE + 1), data["encoding"] or "utf-8")
                data["sealed"] = sealed(data["table"])
            except ValidationError as error:
                self.add_error("file", error)
        return data


class ColumnsForm(forms.Form):
    """The table of an uploaded file, which the page carries, and what its columns hold."""

    sealed = forms.CharField(widget=forms.HiddenInput)
    invite = forms.BooleanField(
        label="Email new users a link to set a password", required=False, help_text="The link works for one day."
    )

    def __init__(self, data: Any, table: Table) -> None:
        self.table = table
        super().__init__(data)
        titles = [(str(index), title or f"Column {index + 1}") for index, title in enumerate(table.header)]
        for name in FIELDS:
            self.fields[f"column_{name}"] = forms.TypedChoiceField(
                label=f"{LABELS[name].capitalize()} column",
                choices=titles if name == "username" else [("", "None"), *titles],
                coerce=int,
                empty_value=None,
                required=name == "username",
                error_messages={"required": "There is no column for usernames. Choose one."},
            )
        self.order_fields([f"column_{name}" for name in FIELDS])

    @property
    def columns(self) -> Columns:
        found = {name: self.cleaned_data.get(f"column_{name}") for name in FIELDS}
        return {name: index for name, index in found.items() if index is not None}


def first_values(table: Table, seal: str) -> dict[str, Any]:
    """What the second form starts with."""
    return {"sealed": seal} | {f"column_{name}": str(index) for name, index in guess_columns(table.header).items()}


def sealed(table: Table) -> str:
    text = signing.dumps([table.header, table.rows], salt=SALT, compress=True)
    if len(text) > MAX_SEALED_LENGTH:
        raise ValidationError("This file is too large to preview. Split it, or use manage.py import_users.")
    return text


def unsealed(text: str) -> Table | None:
    """None if the page is too old, or didn't come from us."""
    try:
        header, rows = signing.loads(text, salt=SALT, max_age=MAX_AGE)
    except signing.BadSignature:
        return None
    return Table(header, [Row(number, cells) for number, cells in rows])
