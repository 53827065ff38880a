"""What does a scrape of /metrics cost, with 8 workers of which each has counted decisions?

    python -m benchmarks.metrics_scrape                                        SQLite
    python -m benchmarks.metrics_scrape --database postgres://… [--redis redis://…]

From the request to the whole response, one after the other, over a connection that is kept, without other load. Exits if a scrape
doesn't have the decisions of all workers. The database named must be one that may be filled.

Writes benchmarks/results/metrics_scrape.json, and the table in docs/metrics.md from it.
"""

from __future__ import annotations

import argparse
import http.client
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.documents import replace_figures
from benchmarks.report import ROOT, Rows, parser_with_stores, place_of, remember
from benchmarks.verification import OURS, environment_of, ours_at
from benchmarks.verification_load import Target, flood

SCRAPES_OF_A_ROUND = 100
CLIENTS = 64
COUNTED = re.compile(r'^gatehouse_decisions_total\{gateway="nginx",reason="allowed"\} ([\d.e+]+)$', re.MULTILINE)


def main() -> None:
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as directory:
        environment = environment_of(options.database, options.redis, Path(directory))
        command = [*OURS, "-w", str(options.workers), "config.asgi"]
        with ours_at(ROOT, "Gatehouse", command, environment, options) as target:
            rows = [{"workers": options.workers, **measure(target, options)}]
    print(*rows)
    write(remember("metrics_scrape", place_of(options.database, options.redis), rows))


def parse_arguments() -> argparse.Namespace:
    parser = parser_with_stores(__doc__)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5, help=f"of {SCRAPES_OF_A_ROUND} scrapes")
    parser.add_argument("--seconds", type=float, default=5, help="of decisions before")
    return parser.parse_args()


def measure(target: Target, options: argparse.Namespace) -> dict[str, float]:
    decisions = flood(target, options.seconds, CLIENTS).requests
    connection = http.client.HTTPConnection(str(urlsplit(target.url).netloc), timeout=60)
    counted, size = scrape(connection)
    # Requests in progress when the load ends are counted, but not reported by it.
    if not decisions <= counted <= decisions + CLIENTS:
        sys.exit(f"/metrics has {counted:,.0f} decisions, but there were {decisions:,}.")
    count = options.rounds * SCRAPES_OF_A_ROUND
    times = sorted(timed(connection) for _ in range(count))
    return {
        "median": round(statistics.median(times), 1),
        "p99": round(times[count * 99 // 100], 1),
        "kilobytes": round(size / 1000),
    }


def timed(connection: http.client.HTTPConnection) -> float:
    start = time.perf_counter()
    scrape(connection)
    return (time.perf_counter() - start) * 1000


def scrape(connection: http.client.HTTPConnection) -> tuple[float, int]:
    """Allowed decisions, and the size of the response."""
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    found = COUNTED.search(text)
    return (float(found[1]) if found else 0), len(text)


def write(results: dict[str, Rows]) -> None:
    lines = ["| | workers | median | p99 | response |", "|---|---:|---:|---:|---:|"]
    for place, rows in results.items():
        lines += [
            f"| {place} | {row['workers']} | {row['median']} ms | {row['p99']} ms | {row['kilobytes']} kB |"
            for row in rows
        ]
    replace_figures(ROOT / "docs" / "metrics.md", "benchmarks.metrics_scrape", lines)


if __name__ == "__main__":
    main()
