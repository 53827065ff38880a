"""The tables of docs/scaling.md, from the results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

STORES = {"PostgreSQL": "counters in PostgreSQL", "PostgreSQL and Redis": "counters in Redis"}
PARTS = ("nodes", "PostgreSQL", "Redis", "nginx")
RATES = (1_000, 10_000, 30_000, 100_000)
# The planned utilization of a core.
BUSY = 0.6


def tables(results: dict[str, Any]) -> Iterator[str]:
    yield from cost_table(results)
    yield ""
    yield from acting_table(results)
    upgrade, loads = results["upgrade"], [results[store]["load average"] for store in STORES]
    yield ""
    yield f"The nodes have {results['nodes are']}. Everything shares {results['cores']} cores."
    yield f"The machine's load average was {min(loads)} to {max(loads)}."
    yield ""
    yield (
        f"Rolling upgrade of {upgrade['nodes']} nodes from commit `{upgrade['from'][:7]}`: {upgrade['failed']} of "
        f"{upgrade['requests']:,} requests failed."
    )


def extrapolated_table(results: dict[str, Any]) -> Iterator[str]:
    """Extrapolate the figures of one node to other rates, assuming that the cost of a decision stays the same."""
    figures = [results[store]["cost"] for store in STORES]
    own, redis = (cost["rows"][0] for cost in figures)
    yield f"| decisions/s | {' | '.join(f'{rate:,}' for rate in RATES)} |"
    yield f"|---|{'---:|' * len(RATES)}"
    yield row("cores of the nodes, and worker processes on them", cores(own["µs"]["nodes"]))
    yield row("cores of nginx in front", cores(own["µs"]["nginx"]))
    yield row("cores of PostgreSQL, which counts too", cores(own["µs"]["PostgreSQL"]))
    yield row("cores of PostgreSQL, if Redis counts", cores(redis["µs"]["PostgreSQL"]))
    yield row("cores of Redis, which can only use one", cores(redis["µs"]["Redis"]))
    yield row("WAL, MB/s", lambda rate: rate * own["WAL"] / 1e6)
    if own["flushes"] is not None:
        yield row("flushes of WAL/s, at most", lambda rate: rate * own["flushes"], 0)
    yield row("usage rows a day, millions", lambda rate: rate * 86_400 / 1e6, 0)
    yield row("usage ledger, GB a day", lambda rate: rate * 86_400 * figures[0]["bytes of a usage row"] / 1e9, 0)
    yield row(
        "share of an hour that it takes to fold one", lambda rate: rate / figures[0]["events folded per second"], 2
    )


def row(about: str, of_rate: Callable[[int], float], digits: int = 1) -> str:
    return f"| {about} | {' | '.join(f'{of_rate(rate):,.{digits}f}' for rate in RATES)} |"


def cores(microseconds: float) -> Callable[[int], float]:
    return lambda rate: rate * microseconds / 1e6 / BUSY


def cost_table(results: dict[str, Any]) -> Iterator[str]:
    """Processor time, WAL, commits and flushes for each decision."""
    titles = ["nodes", "clients", "decisions/s", *(f"{part}, µs" for part in PARTS), "WAL, bytes", "commits", "flushes"]
    yield f"| counters in | {' | '.join(titles)} |"
    yield f"|---|{'---:|' * len(titles)}"
    for store, words in STORES.items():
        for row in results[store]["cost"]["rows"]:
            cells = [row["nodes"], row["clients"], row["rate"], *(row["µs"].get(part) for part in PARTS), row["WAL"]]
            shares = [f"{row[name]:.2f}" if row[name] is not None else "–" for name in ("commits", "flushes")]
            whole = ["–" if cell is None else f"{cell:,.0f}" for cell in cells]
            yield f"| {words.removeprefix('counters in ')} | {' | '.join(whole + shares)} |"


def acting_table(results: dict[str, Any]) -> Iterator[str]:
    found = [results[store] for store in STORES]
    yield f"| four nodes | {' | '.join(STORES.values())} |"
    yield "|---|---:|---:|"
    for path, counts in found[0]["budgets"].items():
        about = f"{path[1:]} window of {counts['limit']:,}: allowed of {counts['requests']:,} requests"
        yield line(about, [each["budgets"][path]["allowed"] for each in found])
    asked = found[0]["changes"]["next requests"]
    yield line(
        f"changes not in force on the next request, of {asked}", [each["changes"]["not in force"] for each in found]
    )
    due = found[0]["jobs"]["due"]
    yield line(f"runs of {due} jobs that all nodes would run", [each["jobs"]["runs"] for each in found])
    yield line("nodes that showed a change made on another, in one session", [each["pages"]["shown"] for each in found])


def line(about: str, values: list[int]) -> str:
    return f"| {about} | {' | '.join(f'{value:,}' for value in values)} |"
