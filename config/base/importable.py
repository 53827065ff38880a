"""What an import of a table needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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


class Problem(NamedTuple):
    row: int
    column: str
    text: str
