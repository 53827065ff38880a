"""What an import of a table needs to know."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

# The index of the column that holds a field.
Columns = Mapping[str, int]


class Importable(NamedTuple):
    """What a table can hold.

    headers: by field, those that are recognized, in lower case and without other characters than letters. required: the
    fields that need a column, each with what to say without one. advice: about the file. command: for larger files.
    """

    headers: Mapping[str, Sequence[str]]
    labels: Mapping[str, str]
    required: Mapping[str, str]
    advice: str
    command: str

    def guess(self, header: Sequence[str]) -> dict[str, int]:
        names = ["".join(filter(str.isalpha, title.casefold())) for title in header]
        found = {
            field: next((names.index(alias) for alias in aliases if alias in names), None)
            for field, aliases in self.headers.items()
        }
        return {field: index for field, index in found.items() if index is not None}


class RowProblem(NamedTuple):
    row: int
    column: str
    text: str


class NotImported(Exception):
    """Nothing was imported, and why. field: of the form, if it's about one."""

    def __init__(self, reason: str, field: str | None = None) -> None:
        super().__init__(reason)
        self.field = field


class InvalidRows(NotImported):
    """plan: what was refused, as the import knows it."""

    def __init__(self, plan: Any = None) -> None:
        super().__init__("Nothing was imported, because some rows have errors.")
        self.plan = plan


def digest_of(effects: object) -> str:
    """Differs if an import would do anything else."""
    return hashlib.sha256(repr(effects).encode()).hexdigest()
