"""The two forms of an import: choose a file; then check its columns and confirm."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core import signing
from django.core.exceptions import ValidationError

from config.base.importable import Columns, Importable
from config.base.tables import ENCODINGS, MAX_FILE_SIZE, Row, Table, read_table

SALT = "config.base.import"
MAX_AGE = 3600  # seconds between the preview and the import
# As a form field, which Django limits to 2.5 MB with all others.
MAX_SEALED_LENGTH = 2_400_000


class UploadForm(forms.Form):
    file = forms.FileField(
        label="CSV or XLSX file",
        widget=forms.FileInput(attrs={"accept": ".csv,.xlsx,.txt,.tsv"}),
        error_messages={"required": "Choose a file.", "empty": "This file is empty. Choose another one."},
    )
    encoding = forms.ChoiceField(label="Encoding of a CSV file", choices=ENCODINGS, initial="utf-8", required=False)

    def __init__(self, *args: Any, importable: Importable) -> None:
        super().__init__(*args)
        self.importable = importable
        self.fields["file"].help_text = f"The first row names the columns. {importable.advice}"

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if "file" in data and "encoding" in data:
            try:
                data["table"] = read_table(data["file"].read(MAX_FILE_SIZE + 1), data["encoding"] or "utf-8")
                data["sealed"] = sealed(data["table"], self.importable.command)
            except ValidationError as error:
                self.add_error("file", error)
        return data

    def first_values(self) -> dict[str, Any]:
        """What the second form starts with."""
        found = self.importable.guess(self.cleaned_data["table"].header)
        return {"sealed": self.cleaned_data["sealed"]} | {f"column_{name}": str(index) for name, index in found.items()}


class ImportColumnsForm(forms.Form):
    """The table of an uploaded file, which the page carries, and what its columns hold."""

    sealed = forms.CharField(widget=forms.HiddenInput)

    def __init__(self, data: Any, table: Table, importable: Importable) -> None:
        self.table, self.importable = table, importable
        super().__init__(data)
        titles = [(str(index), title or f"Column {index + 1}") for index, title in enumerate(table.header)]
        for name in importable.headers:
            missing = importable.required.get(name)
            self.fields[f"column_{name}"] = forms.TypedChoiceField(
                label=f"{importable.labels[name].capitalize()} column",
                choices=titles if missing else [("", "None"), *titles],
                coerce=int,
                empty_value=None,
                required=missing is not None,
                error_messages={"required": missing or ""},
            )
        self.order_fields([f"column_{name}" for name in importable.headers])

    @property
    def columns(self) -> Columns:
        found = {name: self.cleaned_data.get(f"column_{name}") for name in self.importable.headers}
        return {name: index for name, index in found.items() if index is not None}

    @property
    def ignored(self) -> list[str]:
        used = set(self.columns.values())
        return [title for index, title in enumerate(self.table.header) if index not in used]


def sealed(table: Table, command: str) -> str:
    text = signing.dumps([table.header, table.rows], salt=SALT, compress=True)
    if len(text) > MAX_SEALED_LENGTH:
        raise ValidationError(f"This file is too large to preview. Split it, or use manage.py {command}.")
    return text


def unsealed(text: str) -> Table | None:
    """None if the page is too old, or didn't come from us."""
    try:
        header, rows = signing.loads(text, salt=SALT, max_age=MAX_AGE)
    except signing.BadSignature:
        return None
    return Table(header, [Row(number, cells) for number, cells in rows])
