"""Reading uploaded CSV and XLSX files, and the errors for invalid ones."""

from __future__ import annotations

import zipfile
from datetime import date
from io import BytesIO

import openpyxl
import pytest
from django.core.exceptions import ValidationError

from config.base import tables
from config.base.tables import MAX_FILE_SIZE, read_table


def xlsx(*rows):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    content = BytesIO()
    book.save(content)
    return content.getvalue()


def cells(content, **options):
    table = read_table(content, **options)
    return [table.header, *(row.cells for row in table.rows)]


EXPECTED = [["username", "name"], ["zoe", "Zoë, the 1st"]]


@pytest.mark.parametrize(
    "content",
    [
        'username,name\nzoe,"Zoë, the 1st"\n'.encode(),
        'username,name\r\nzoe,"Zoë, the 1st"\r\n'.encode("utf-8-sig"),
        'username;name\r\nzoe;"Zoë, the 1st"'.encode(),
        "username\tname\nzoe\tZoë, the 1st\n".encode("utf-16"),
        ' username , name ,\n\n zoe,"Zoë, the 1st ",,\n,,\n'.encode(),
        xlsx(["username", "name"], ["zoe", "Zoë, the 1st", None], [None, ""]),
    ],
    ids=["lf", "bom and crlf", "semicolon", "utf-16 and tabs", "spaces and empty lines", "xlsx"],
)
def test_common_formats_are_read_alike(content):
    assert cells(content) == EXPECTED


def test_other_encodings_can_be_chosen_and_wrong_ones_name_the_line():
    content = "username,name\nbob,Bob\nzoe,Zoë\n".encode("latin-1")
    assert cells(content, encoding="cp1252")[2] == ["zoe", "Zoë"]
    with pytest.raises(ValidationError, match=r"Line 3 isn't in the encoding you chose"):
        read_table(content)


def test_rows_are_numbered_as_in_a_spreadsheet():
    table = read_table(b'a,b\n\n"1\n2",3\n4\n')
    assert [(row.number, row.cells) for row in table.rows] == [(3, ["1\n2", "3"]), (4, ["4", ""])]


def test_cells_are_converted_to_text():
    row = [12, 12.0, 1.5, True, date(2026, 1, 2), "=A1", None, "x"]
    assert cells(xlsx(list("abcdefgh"), row))[1] == ["12", "12", "1.5", "yes", "2026-01-02T00:00:00", "=A1", "", "x"]
    assert tables.cell_text(object()) == "="


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "This file is empty"),
        (b"\n,,\n", "This file is empty"),
        (b"username\n", "has a header, but no rows"),
        (b"username\nbob,x\n", "Row 2 has more cells than the header"),
        (b'username\n"bob\n', "isn't a valid CSV file"),
        (b"username\n" + b"x" * 1001, "Row 2 has a cell with more than 1,000 characters"),
        (b"a," * 51 + b"a\nx", "too many columns"),
        (b"username\n" + b"x\n" * 10_001, "too many rows"),
        (b"x" * (MAX_FILE_SIZE + 1), "too large"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "isn't a CSV or XLSX file"),
        (b"GIF89a\0", "isn't a CSV or XLSX file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "old or encrypted Excel file"),
        (b"PK\x03\x04 nonsense", "isn't a valid XLSX file"),
        (xlsx(["a"] * 51, ["x"]), "too many columns"),
    ],
)
def test_invalid_files_are_errors(content, problem):
    with pytest.raises(ValidationError, match=problem):
        read_table(content)


def test_other_archives_and_zip_bombs_are_rejected(monkeypatch):
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", b" " * 100_000)
    with pytest.raises(ValidationError, match="isn't a valid XLSX file"):
        read_table(content.getvalue())
    monkeypatch.setattr(tables, "MAX_UNPACKED_SIZE", 99_999)
    with pytest.raises(ValidationError, match="too large when unpacked"):
        read_table(content.getvalue())
