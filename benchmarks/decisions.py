"""Do decisions cost more than before? Compares the processor time of `decide_many` here and in another checkout.

    python -m benchmarks.decisions DIRECTORY                                           SQLite
    python -m benchmarks.decisions DIRECTORY --database postgres://… [--redis redis://…]

Both run in turns, on 200 keys of users who have none of the optional features: no own limits, no access rule but the one for
everything. Counts the process, its PostgreSQL backends and Redis, by the kernel's accounting in nanoseconds. A ratio is the median
of the ratios of two turns that follow each other, which holds on a busy machine, too. On PostgreSQL, both have a new database beside
the named one.

Writes benchmarks/results/decisions.json, and the table in docs/decision.md from it.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.decision_loop import SIZES, compared, deciding
from benchmarks.report import ROOT, Rows, place_of, remember, write_comparison
from benchmarks.verification import beside


def main() -> None:
    options = parsed()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        here, before = (
            stack.enter_context(deciding(root, beside(options.database, name), options.redis, directory / name))
            for root, name in ((ROOT, "here"), (options.before, "before"))
        )
        rows: Rows = [compared(here, before, size, options.rounds) for size in SIZES]
    write_comparison(
        "decisions", "now | before", remember("decisions", place_of(options.database, options.redis), rows)
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--database", default="", help="DATABASE_URL; SQLite in a temporary directory when empty")
    parser.add_argument("--redis", default="", help="REDIS_URL for the counters")
    parser.add_argument("--rounds", type=int, default=40)
    return parser.parse_args()


if __name__ == "__main__":
    main()
