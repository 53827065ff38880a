"""Count decisions for /metrics: a batch at a time, so that they cost little."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

import prometheus_client

from apikeys.decision.checks import Facts
from apikeys.decision.decide import Verdict, decide_many
from config.base.metrics import BATCH_SIZE, DECISION_SECONDS, DECISIONS, tally

# For your own views, which ask without a gateway.
IN_PROCESS = "in-process"
GATEWAYS = ("nginx", "traefik", "caddy", "envoy", "verify", IN_PROCESS)
# Reasons for a denial without a decision.
UNAVAILABLE, BUSY, CLIENT_GONE = "unavailable", "busy", "client_gone"

# From the start, so that the first error is seen as an increase.
for each in GATEWAYS:
    DECISIONS.labels(each, UNAVAILABLE)


def decide_now(facts: Facts, gateway: str) -> Verdict:
    """Decide in this thread."""
    began = time.perf_counter()
    verdict = decide_many([facts])[0]
    observe([(gateway, verdict)], [time.perf_counter() - began])
    return verdict


def observe(decided: Sequence[tuple[str, Verdict]], seconds: Sequence[float]) -> None:
    """decided: who asked, and the verdict. seconds: how long each request waited for it."""
    BATCH_SIZE.observe(len(decided))
    DECISION_SECONDS.observe_all(seconds)
    for (gateway, reason), number in tally([(gateway, reason_of(verdict)) for gateway, verdict in decided]).items():
        counter(gateway, reason).inc(number)


@lru_cache(maxsize=256)
def counter(gateway: str, reason: str) -> prometheus_client.Counter:
    return DECISIONS.labels(gateway, reason)


def reason_of(verdict: Verdict) -> str:
    if verdict.error is not None:
        return UNAVAILABLE
    return verdict.reason or "allowed"


def count_undecided(gateway: str, reason: str) -> None:
    counter(gateway, reason).inc()
