"""Downloads of lists as CSV, XLSX or JSON, in bounded memory. CSV and XLSX are safe to open in a spreadsheet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import chain, islice
from tempfile import TemporaryFile
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import FileResponse, HttpRequest, HttpResponseRedirect, StreamingHttpResponse
from django.http.response import HttpResponseBase

from config.base.csv import cell, csv_lines
from config.base.filters import query_without

Rows = Iterable[Sequence[Any]]

CHUNK = 2000
FORMATS = {"csv": "CSV", "xlsx": "Excel (XLSX)", "json": "JSON"}
# An XLSX file is complete before its first byte is sent: with more rows, a proxy would give up.
MAX_XLSX_ROWS = 100_000
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

# Control characters, which openpyxl refuses.
NOT_IN_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


def wanted_format(data: Any, name: str = "format") -> str:
    """The format that a query string or a form asks for; empty for the page itself."""
    wanted = str(data.get(name, ""))
    return wanted if wanted in FORMATS else ""


def export(request: HttpRequest, file_format: str, name: str, header: Sequence[str], rows: Rows) -> HttpResponseBase:
    """name: of the file, without its extension. Fetches the first row, so that a failing query raises its error here."""
    rows = iter(rows)
    rows = chain(list(islice(rows, 1)), rows)
    response = WRITERS[file_format](request, header, rows)
    if response.streaming:  # else it's no file
        response["Content-Disposition"] = f'attachment; filename="{name}.{file_format}"'
        response["Cache-Control"] = "no-store"
    return response


def export_queryset(
    request: HttpRequest, file_format: str, name: str, rows: QuerySet[Any], fields: Sequence[Any]
) -> HttpResponseBase:
    """A column for each of the model's `fields`."""
    header = [str(field.verbose_name) for field in fields]
    return export(request, file_format, name, header, values_of(rows, fields))


def values_of(rows: QuerySet[Any], fields: Sequence[Any]) -> Iterator[list[Any]]:
    related = [field.name for field in fields if field.is_relation]
    for row in rows.select_related(*related).iterator(chunk_size=CHUNK):
        yield [getattr(row, field.name) for field in fields]


def csv_file(request: HttpRequest, header: Sequence[str], rows: Rows) -> HttpResponseBase:
    return StreamingHttpResponse(csv_lines(header, rows), content_type="text/csv; charset=utf-8")


def json_file(request: HttpRequest, header: Sequence[str], rows: Rows) -> HttpResponseBase:
    return StreamingHttpResponse(json_lines(header, rows), content_type="application/json")


def json_lines(header: Sequence[str], rows: Rows) -> Iterator[str]:
    """An array with an object for each row, one per line."""
    names = [re.sub(r"\W+", "_", title.lower()) for title in header]
    separator = "[\n"
    for row in rows:
        values = {name: json_value(value) for name, value in zip(names, row, strict=True)}
        yield separator + json.dumps(values, ensure_ascii=False, default=str)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"


def json_value(value: Any) -> Any:
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


def xlsx_file(request: HttpRequest, header: Sequence[str], rows: Rows) -> HttpResponseBase:
    import openpyxl  # noqa: PLC0415  (takes 0.4 s, and few processes ever write a workbook)

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(list(map(xlsx_cell, header)))
    for number, row in enumerate(rows):
        if number == MAX_XLSX_ROWS:
            return too_many_rows(request, book)
        sheet.append(list(map(xlsx_cell, row)))
    file = TemporaryFile()  # noqa: SIM115  # closed with the response
    book.save(file)
    file.seek(0)
    return FileResponse(file, content_type=XLSX_TYPE)


def xlsx_cell(value: Any) -> Any:
    shown = cell(value)
    return NOT_IN_XML.sub("", shown) if isinstance(shown, str) else shown


def too_many_rows(request: HttpRequest, book: Any) -> HttpResponseBase:
    with TemporaryFile() as discarded:
        book.save(discarded)  # removes the file in which openpyxl collects rows
    text = f"XLSX files can have up to {MAX_XLSX_ROWS:,} rows. Filter the list, or export it as CSV or JSON."
    messages.error(request, text)
    return HttpResponseRedirect(f"{list_of(request)}?{query_without(request.GET, 'format')}")


def list_of(request: HttpRequest) -> str:
    """The list that is exported: at the same address, or at the one above."""
    return request.path.removesuffix("export/").removesuffix("export.xlsx")


WRITERS: dict[str, Callable[[HttpRequest, Sequence[str], Rows], HttpResponseBase]] = {
    "csv": csv_file,
    "xlsx": xlsx_file,
    "json": json_file,
}
