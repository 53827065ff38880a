"""CSV files are streamed, and cells that a spreadsheet would run as formulas are quoted."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest

from config.base.csv import cell, csv_lines

FORMULAS = (
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\tplain", "  =cmd|' /C calc'!A0",
    # Full-width, small, superscript and subscript forms, and the typographic minus sign.
    "＝1", "＋1", "－1", "＠A1", "﹦1", "﹢1", "﹣1", "﹫A1", "⁼1", "⁺1", "⁻1", "₌1", "−1",
)  # fmt: skip
TRIMMED = {
    "no-break space": "\u00a0", "ideographic space": "\u3000", "narrow no-break space": "\u202f", "em space": "\u2003",
    "zero-width space": "\u200b", "zero-width joiner": "\u200d", "zero-width non-joiner": "\u200c",
    "byte order mark": "\ufeff", "word joiner": "\u2060", "soft hyphen": "\u00ad", "right-to-left mark": "\u200f",
    "right-to-left override": "\u202e", "isolate": "\u2066", "line separator": "\u2028", "paragraph separator": "\u2029",
    "vertical tab": "\x0b", "form feed": "\x0c", "NUL": "\0", "unit separator": "\x1f", "delete": "\x7f",
    "next line": "\x85", "Hangul filler": "\u3164", "empty Braille cell": "\u2800", "variation selector": "\ufe0f",
    "Mongolian vowel separator": "\u180e", "combining grapheme joiner": "\u034f", "tag": "\U000e0041",
    "variation selector supplement": "\U000e0100", "several": " \u3000\ufeff\u200b\t",
}  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_quoted(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "＝", "＠"])
@pytest.mark.parametrize("trimmed", TRIMMED.values(), ids=TRIMMED)
def test_formulas_after_trimmed_characters_are_quoted(trimmed, start):
    assert cell(f"{trimmed}{start}1+1") == f"'{trimmed}{start}1+1"


@pytest.mark.parametrize(
    "text", ["\u3000山田", "\ufeffplain", "\u200ba=b", " a-b", "👩\u200d🚀 -1", "\u3000", "…=1", "1-1", "'=1"]
)
def test_other_text_is_left_alone(text):
    assert cell(text) == text


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
def test_values_are_converted_for_csv(value, expected):
    assert cell(value) == expected


def test_lines_are_generated_one_by_one_and_the_header_is_quoted():
    taken = []

    def rows():
        for number in range(3):
            taken.append(number)
            yield [number, 'say "hi", you']

    lines = csv_lines(["no", "=what"], rows())
    first, second = next(lines), next(lines)
    assert taken == [0]
    assert first == "\ufeffno,'=what\r\n"
    assert list(csv.reader(io.StringIO(second))) == [["0", 'say "hi", you']]


def test_a_file_starts_with_one_byte_order_mark_for_excel():
    assert "".join(csv_lines(["name"], [["Zoë"], ["山田"]])) == "\ufeffname\r\nZoë\r\n山田\r\n"
    assert "".join(csv_lines(["name"], [])) == "\ufeffname\r\n"
