"""What Gatehouse measures about itself, for /metrics (docs/metrics.md).

Every label has few values, all from our code: values from requests must not become labels.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from config.base.metric_files import VARIABLE, locked

T = TypeVar("T")

registry = CollectorRegistry()


def tally(values: Iterable[T]) -> dict[T, int]:
    """How often each value occurs: for a few values, faster than collections.Counter."""
    found: dict[T, int] = {}
    for value in values:
        found[value] = found.get(value, 0) + 1
    return found


class BatchHistogram(Histogram):
    def observe_all(self, values: Sequence[float]) -> None:
        """`observe` for each value, but with one write for each bucket."""
        self._sum.inc(sum(values))
        for place, number in tally([bisect_left(self._upper_bounds, value) for value in values]).items():
            self._buckets[place].inc(number)


DECISIONS = Counter(
    "gatehouse_decisions",
    "Decisions, by the gateway that asked and the reason.",
    ("gateway", "reason"),
    registry=registry,
)
DECISION_SECONDS = BatchHistogram(
    "gatehouse_decision_seconds",
    "Time from the arrival of a request to its verdict.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
    registry=registry,
)
BATCH_SIZE = Histogram(
    "gatehouse_batch_size",
    "Requests per batch.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128),
    registry=registry,
)
QUEUE_DEPTH = Gauge(
    "gatehouse_queue_depth", "Requests waiting to be decided.", multiprocess_mode="livesum", registry=registry
)
DATABASE_SECONDS = Summary(
    "gatehouse_database_seconds", "Time that decisions spend in the database.", ("statement",), registry=registry
)
LIMITER_ERRORS = Counter(
    "gatehouse_limiter_store_errors",
    "Requests decided without the rate limit store, because it was unavailable.",
    ("store", "outcome"),
    registry=registry,
)
BREAKER_OPEN = Gauge(
    "gatehouse_limiter_breaker_open",
    "Processes whose circuit breaker for the rate limit store is open.",
    multiprocess_mode="livesum",
    registry=registry,
)
USAGE_REPORTS = Counter(
    "gatehouse_usage_reports", "Events in usage reports, by result.", ("result",), registry=registry
)


class FilesCollector(Collector):
    """The metrics of all processes of this server."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        with locked(self._directory, exclusive=False):
            metrics: Iterable[Metric] = MultiProcessCollector(None, str(self._directory)).collect()
        return metrics


def collector() -> Collector:
    """The metrics of this server: of all of its processes under gunicorn, else of this one."""
    directory = os.environ.get(VARIABLE)
    return FilesCollector(Path(directory)) if directory else registry
