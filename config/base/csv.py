"""CSV files for people: streamed row by row, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.http import StreamingHttpResponse

from config.base.text import is_visible

# Without it Excel reads the file in the code page of the computer: “Zoë” becomes “ZoÃ«”.
BYTE_ORDER_MARK = "\ufeff"
# A spreadsheet takes a cell that starts with one of these for a formula, whatever quotes are around it (OWASP, "CSV
# Injection"), in their full-width, small and raised forms too. U+2212 is the minus sign of typography.
FORMULA_STARTS = frozenset("=+-@\u2212")
LINE_STARTS = ("\t", "\r", "\n")


class Echo:
    """A file that hands back what is written to it: csv.writer then yields its lines."""

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


def csv_response(filename: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> StreamingHttpResponse:
    """A download of `rows` under `header`, sent as they are made: memory does not grow with their number.

    filename: plain ASCII, such as "users.csv".
    """
    return StreamingHttpResponse(
        csv_lines(header, rows),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{filename}"', "Cache-Control": "no-store"},
    )
