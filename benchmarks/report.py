"""Store the results of benchmarks, and write their tables into docs/decision.md."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.documents import replace_figures

ROOT = Path(__file__).resolve().parent.parent
Rows = list[dict[str, Any]]


def parser_with_stores(description: str | None) -> argparse.ArgumentParser:
    """Its --database and --redis name the place of the results."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="", help="DATABASE_URL; SQLite in a temporary directory when empty")
    parser.add_argument("--redis", default="", help="REDIS_URL for the counters")
    return parser


def place_of(database: str, redis: str) -> str:
    return ("PostgreSQL" if database else "SQLite") + (" and Redis" if redis else "")


def remember(benchmark: str, place: str, rows: Rows) -> dict[str, Rows]:
    """Add results to benchmarks/results/`benchmark`.json. Returns all its results by place."""
    path = ROOT / "benchmarks" / "results" / f"{benchmark}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    results: dict[str, Rows] = known | {place: rows}
    path.write_text(json.dumps(results, indent=1) + "\n")
    return results


def write_table(benchmark: str, lines: Sequence[str]) -> None:
    replace_figures(ROOT / "docs" / "decision.md", f"benchmarks.{benchmark}", lines)


def write_comparison(benchmark: str, header: str, results: dict[str, Rows]) -> None:
    """header: the titles of the two columns, such as “now | before”."""
    lines = [f"| | batch of | {header} | ratio |", "|---|---:|---:|---:|---:|"]
    for label, rows in results.items():
        lines += [
            f"| {label} | {row['batch']} | {row['microseconds']} µs | {row['other']} µs | {row['ratio']} |"
            for row in rows
        ]
    write_table(benchmark, lines)
