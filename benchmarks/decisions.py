"""Compare the processor time of decisions (`decide_many`) in this checkout and another one.

    python -m benchmarks.decisions DIRECTORY                                           SQLite
    python -m benchmarks.decisions DIRECTORY --database postgres://… [--redis redis://…]

Both run in turns, with 200 keys of users without optional features: no own limits, and no access rule except the one for
everything. Includes the process, its PostgreSQL backends and Redis, as measured by the kernel. A ratio is the median
of the ratios of consecutive turns, so it's also valid on a busy machine. On PostgreSQL, each gets a new database next to
the given one.

Writes benchmarks/results/decisions.json, and the table in docs/decision.md from it.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.decision_loop import SIZES, compare, deciding
from benchmarks.report import ROOT, Rows, place_of, remember, write_comparison
from benchmarks.verification import beside


def main() -> None:
    options = parse_arguments()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        here, before = (
            stack.enter_context(deciding(root, beside(options.database, name), options.redis, directory / name))
            for root, name in ((ROOT, "here"), (options.before, "before"))
        )
        rows: Rows = [compare(here, before, size, options.rounds) for size in SIZES]
    write_comparison(
        "decisions", "now | before", remember("decisions", place_of(options.database, options.redis), rows)
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--database", default="", help="DATABASE_URL; SQLite in a temporary directory when empty")
    parser.add_argument("--redis", default="", help="REDIS_URL for the counters")
    parser.add_argument("--rounds", type=int, default=40)
    return parser.parse_args()


if __name__ == "__main__":
    main()
