"""Write figures from benchmarks into the documentation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def replace_figures(document: Path, benchmark: str, lines: Iterable[str]) -> None:
    """Replace the text between the comments with the benchmark's name and “end” in the document."""
    text, begin, end = document.read_text(), f"<!-- {benchmark} -->", "<!-- end -->"
    head, rest = text.split(begin)
    document.write_text("\n".join([head + begin, "", *lines, "", rest[rest.index(end) :]]))
