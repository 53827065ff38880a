"""CSV files are streamed and harmless in a spreadsheet."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest

from config.base_csv import cell, csv_response


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "  =cmd|' /C calc'!A0"]
)
def test_text_that_a_spreadsheet_would_run_is_quoted(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("a=b", "a=b"),
        ("", ""),
        (None, ""),
        (-5, -5),
        (1.5, 1.5),
        (True, "yes"),
        (False, "no"),
        (datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
    ],
)
def test_other_values_stay_what_they_are(value, expected):
    assert cell(value) == expected


def test_a_file_is_streamed_with_header_and_name():
    taken = []

    def rows():
        for number in range(3):
            taken.append(number)
            yield [number, 'say "hi", you']

    response = csv_response("things.csv", ["no", "=what"], rows())
    assert taken == []
    assert response.streaming
    assert response["Content-Disposition"] == 'attachment; filename="things.csv"'
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response["Cache-Control"] == "no-store"
    text = response.getvalue().decode()
    assert list(csv.reader(io.StringIO(text)))[:2] == [["no", "'=what"], ["0", 'say "hi", you']]
    assert taken == [0, 1, 2]
