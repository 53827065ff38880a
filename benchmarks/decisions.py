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
from benchmarks.report import ROOT, Rows, parser_with_stores, place_of, remember, write_comparison
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
    parser = parser_with_stores(__doc__)
    parser.add_argument("before", type=Path, help="a checkout of an earlier version")
    parser.add_argument("--rounds", type=int, default=40)
    return parser.parse_args()


if __name__ == "__main__":
    main()
