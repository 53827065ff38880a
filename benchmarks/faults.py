"""Measure what fails, for how long, and what is lost during each fault of tests/faults, under load behind a real nginx.

    python -m benchmarks.faults               all faults
    python -m benchmarks.faults Redis full    faults with one of these words in their name

Starts its own PostgreSQL, Redis, nginx and Gatehouse, and affects nothing else. Run it as root, because two faults need a
small disk. Writes benchmarks/results/faults.json, and the tables in docs/reliability.md from it. Exits with 1 if something was
lost, wrongly allowed, over a limit, or didn't recover in time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import tests.environment  # noqa: F401  (before Django's settings are read)

os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"

import django

django.setup()

from benchmarks.documents import replace_figures
from tests.faults.causes import FAULTS, Fault
from tests.faults.installation import Place, installed
from tests.faults.watch import problems, watch

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "faults.json"
DOCUMENT = ROOT / "docs" / "reliability.md"


def main() -> int:
    words = parse_arguments().words
    chosen = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    problem_count = 0
    for place, faults in groupby(chosen, lambda fault: fault.place):
        results = dict(measure(place, list(faults)))
        problem_count += sum(map(report, results, results.values()))
        write({fault.name: result for fault, result in results.items()})
    return 1 if problem_count else 0


def report(fault: Fault, result: dict[str, Any]) -> int:
    """Print a result. Returns the number of problems."""
    found = problems(result, fault)
    print(f"{fault.name}: {', '.join(found) or 'no problems'}\n    {result}", flush=True)
    return len(found)


def write(new: dict[str, dict[str, Any]]) -> None:
    """Replace earlier results by new ones."""
    earlier = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    known = {result["fault"]: result for result in earlier} | new
    results = [known[fault.name] for fault in FAULTS if fault.name in known]
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    replace_figures(DOCUMENT, "benchmarks.faults", tables(results))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only faults with one of these in their name")
    return parser.parse_args()


def measure(place: Place, faults: list[Fault]) -> Iterator[tuple[Fault, dict[str, Any]]]:
    with tempfile.TemporaryDirectory() as directory, installed(place, Path(directory)) as site:
        for fault in faults:
            yield fault, watch(site, fault)


def tables(results: list[dict[str, Any]]) -> Iterator[str]:
    for place, rows in groupby(results, lambda result: result["place"]):
        yield f"**{place[0].upper()}{place[1:]}**"
        yield ""
        yield (
            "| | failed requests | longest time without an allowed one | slowest response | works again after | lost | "
            "bad keys allowed | over quota | over a short limit |"
        )
        yield "|---|---|---:|---:|---:|---:|---:|---:|---:|"
        yield from map(row, rows)
        yield ""


def row(result: dict[str, Any]) -> str:
    failed = ", ".join(f"{number:,} × {status}" for status, number in result["failed"].items()) or "none"
    back = max(result["back after"], result["last failure after"])
    return (
        f"| {result['fault']} | {failed} of {result['answers']:,} | {result['longest gap']} s | {result['longest answer']} s "
        f"| {back} s | {result['lost']} of {result['acknowledged']:,} | {result['bad allowed']} | {result['over lasting']} "
        f"| {result['over short']} |"
    )


if __name__ == "__main__":
    sys.exit(main())
