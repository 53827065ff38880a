"""Lines of a CSV file that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from config.base.text import is_visible

# Without it, Excel uses the computer's code page: “Zoë” becomes “ZoÃ«”.
BYTE_ORDER_MARK = "\ufeff"
# Spreadsheets treat a cell that starts with one of these as a formula, even in quotes (OWASP, "CSV Injection"), also in
# full-width, small and superscript forms. U+2212 is the minus sign.
FORMULA_STARTS = frozenset("=+-@\u2212")
LINE_STARTS = ("\t", "\r", "\n")


class Echo:
    """A file whose write() returns the line, for csv.writer."""

    def write(self, line: str) -> str:
        return line


def cell(value: Any) -> Any:
    """`value` as it goes into the file: times in ISO 8601, no value as nothing, text that looks like a formula quoted."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return value
    text = str(value)
    return f"'{text}" if looks_like_a_formula(text) else text


def looks_like_a_formula(text: str) -> bool:
    """Whether a spreadsheet might run `text`; some trim spaces and invisible characters before they look."""
    first = next(filter(is_visible, text), "")
    return text.lstrip(" ").startswith(LINE_STARTS) or unicodedata.normalize("NFKC", first) in FORMULA_STARTS


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    writer = csv.writer(Echo())
    yield BYTE_ORDER_MARK + writer.writerow([cell(title) for title in header])
    for row in rows:
        yield writer.writerow([cell(value) for value in row])
