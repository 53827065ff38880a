"""docs/security.md lists each requirement of OWASP ASVS 5.0.0 levels 1 and 2 once, and refers to tests that exist."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "security.md").read_text()
# The number of requirements of levels 1 and 2 in each section of the standard. They come before those of level 3.
SECTIONS = """
1.1:2 1.2:9 1.3:11 1.4:3 1.5:2 2.1:3 2.2:3 2.3:4 2.4:1 3.2:2 3.3:4 3.4:6 3.5:5 3.7:2 4.1:3 4.2:1 4.3:2 4.4:4 5.1:1 5.2:3 5.3:2
5.4:3 6.1:3 6.2:12 6.3:4 6.4:4 6.5:5 6.6:3 6.8:4 7.1:3 7.2:4 7.3:2 7.4:5 7.5:2 7.6:2 8.1:2 8.2:3 8.3:1 8.4:1 9.1:3 9.2:4 10.1:2
10.2:2 10.3:4 10.4:11 10.5:5 10.6:2 10.7:3 11.1:2 11.2:3 11.3:3 11.4:4 11.5:1 11.6:1 12.1:3 12.2:2 12.3:4 13.1:1 13.2:5 13.3:2
13.4:5 14.1:2 14.2:4 14.3:3 15.1:3 15.2:3 15.3:7 16.1:1 16.2:5 16.3:4 16.4:3 16.5:3 17.1:1 17.2:4 17.3:2
"""
ROWS = [
    f"{section}.{number}"
    for section, count in (each.split(":") for each in SECTIONS.split())
    for number in range(1, int(count) + 1)
]
SHOWN, REST = TEXT.split("## Doesn't apply")
TESTS = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", SHOWN)


@lru_cache
def functions(path):
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def shown():
    return re.findall(r"^\| (\d+\.\d+\.\d+) \|", SHOWN, re.MULTILINE)


def others(title):
    part = REST if title == "Doesn't apply" else REST.split(f"## {title}")[1]
    return re.findall(r"\b\d+\.\d+\.\d+\b(?=,|$)", part.split("\n## ")[0], re.MULTILINE)


def test_each_requirement_is_listed_once():
    listed = shown() + others("Doesn't apply") + others("Up to your deployment") + others("Not shown")
    assert len(ROWS) == 253
    assert sorted(listed) == sorted(ROWS)


def test_the_summary_has_the_right_counts():
    counts = [len(shown()), *(len(others(title)) for title in ("Doesn't apply", "Up to your deployment", "Not shown"))]
    assert [int(count) for count in re.findall(r"^\| \[.*\) \| (\d+) \|$", TEXT, re.MULTILINE)] == counts


@pytest.mark.parametrize(("path", "name"), sorted(set(TESTS)))
def test_the_test_exists(path, name):
    assert name in functions(path)


def test_each_verified_requirement_refers_to_a_test():
    rows = [line for line in SHOWN.splitlines() if re.match(r"\| \d+\.\d+\.\d+ \|", line)]
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::test_\w+` \|$", row)] == []
