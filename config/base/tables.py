"""Uploaded tables: CSV and XLSX files, bounded in size, as rows of text."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time
from io import BytesIO, StringIO
from itertools import islice
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError

from config.base.csv import looks_like_a_formula
from config.base.text import NotInEncoding, decode

MAX_FILE_SIZE = 5 * 1024 * 1024
# Of an XLSX file, which is a compressed archive.
MAX_UNPACKED_SIZE = 30 * 1024 * 1024
MAX_ROWS = 10_000
MAX_COLUMNS = 50
MAX_CELL_LENGTH = 1000
DELIMITERS = ",;\t"
ENCODINGS = (("utf-8", "UTF-8"), ("cp1252", "Western European (Windows-1252, Latin-1)"))

ZIP, OLD_OFFICE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
WRONG_TYPE = "This isn't a CSV or XLSX file."


class Row(NamedTuple):
    number: int  # as a spreadsheet counts, from 1
    cells: list[str]


class Table(NamedTuple):
    header: list[str]
    rows: list[Row]


def read_table(content: bytes, encoding: str = "utf-8") -> Table:
    """encoding: of a CSV file without a byte order mark. Raises ValidationError with what is wrong with the file."""
    if len(content) > MAX_FILE_SIZE:
        raise ValidationError(f"This file is too large. It can have up to {MAX_FILE_SIZE // 1024**2} MB.")
    if content.startswith(OLD_OFFICE):
        raise ValidationError("This is an old or encrypted Excel file. Save it as XLSX without a password, or as CSV.")
    read = read_xlsx(content) if content.startswith(ZIP) else read_csv(content, encoding)
    numbered = ((number, trimmed(cells)) for number, cells in enumerate(islice(read, MAX_ROWS + 2), start=1))
    rows = [Row(number, cells) for number, cells in numbered if cells]
    if not rows:
        raise ValidationError("This file is empty.")
    header, body = rows[0].cells, rows[1:]
    check_size(header, rows)
    if not body:
        raise ValidationError("This file has a header, but no rows.")
    return Table(header, [Row(number, [*cells, *[""] * (len(header) - len(cells))]) for number, cells in body])


def trimmed(cells: Iterable[str]) -> list[str]:
    """The cells without space around them, and without empty ones at the end."""
    texts = [cell.strip() for cell in cells]
    while texts and not texts[-1]:
        texts.pop()
    return texts


def check_size(header: list[str], rows: list[Row]) -> None:
    if rows[-1].number > MAX_ROWS + 1:
        raise ValidationError(f"This file has too many rows. Split it: each file can have up to {MAX_ROWS:,}.")
    if len(header) > MAX_COLUMNS:
        raise ValidationError(f"This file has too many columns. It can have up to {MAX_COLUMNS}.")
    for row in rows:
        if len(row.cells) > len(header):
            raise ValidationError(
                f"Row {row.number} has more cells than the header. Name every column, and put text with separators in quotes."
            )
        if any(len(cell) > MAX_CELL_LENGTH for cell in row.cells):
            raise ValidationError(f"Row {row.number} has a cell with more than {MAX_CELL_LENGTH:,} characters.")


# --- CSV ---


def read_csv(content: bytes, encoding: str) -> Iterator[list[str]]:
    try:
        text = decode(content, encoding)
    except NotInEncoding as error:
        raise ValidationError(
            WRONG_TYPE
            if b"\0" in content
            else f"Line {error.line} isn't in the encoding you chose. Choose another encoding, "
            "or save the file as “CSV UTF-8” or XLSX."
        ) from None
    if "\0" in text:
        raise ValidationError(WRONG_TYPE)
    first_line = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first_line.count)
    try:
        yield from csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    except csv.Error as error:
        raise ValidationError(f"This isn't a valid CSV file: {error}.") from error


# --- XLSX ---


def read_xlsx(content: bytes) -> Iterator[list[str]]:
    """The rows of the first sheet."""
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        rows = list(first_sheet(content)) if unpacked <= MAX_UNPACKED_SIZE else None
    except Exception as error:  # openpyxl raises whatever its parsing runs into
        raise ValidationError("This isn't a valid XLSX file.") from error
    if rows is None:
        raise ValidationError("This file is too large when unpacked. Split it, or save it as CSV.")
    yield from rows


def first_sheet(content: bytes) -> Iterator[list[str]]:
    import openpyxl  # noqa: PLC0415  (takes 0.4 s, and few processes ever read a workbook)

    book = openpyxl.load_workbook(BytesIO(content), read_only=True)
    try:
        for row in book.worksheets[0].iter_rows(max_row=MAX_ROWS + 2, max_col=MAX_COLUMNS + 1, values_only=True):
            yield [cell_text(value) for value in row]
    finally:
        book.close()


def cell_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bool):
        return "yes" if value else "no"
    # A formula for several cells is an object.
    return str(value) if isinstance(value, str | int | float) else "="


# --- Cells ---


def is_formula(cell: str) -> bool:
    return cell.startswith("=")


def plain_text(cell: str) -> str:
    """The text of a cell, without the quote that our exports put before what looks like a formula."""
    return cell[1:] if cell.startswith("'") and looks_like_a_formula(cell[1:]) else cell
