"""Figures in the documentation, written by the benchmark that measured them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def replace_figures(document: Path, benchmark: str, lines: Iterable[str]) -> None:
    """Put `lines` between the benchmark's marks in the document: its name, and “end”, each in a comment."""
    text, begin, end = document.read_text(), f"<!-- {benchmark} -->", "<!-- end -->"
    head, rest = text.split(begin)
    document.write_text("\n".join([head + begin, "", *lines, "", rest[rest.index(end) :]]))
