"""Measured results keep the promises of the documentation. tests/faults/test_figures.py checks those about faults."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).resolve().parents[1] / "benchmarks" / "results"
GROWTH, NODES, SCRAPES = (
    json.loads((RESULTS / f"{name}.json").read_text()) for name in ("usage_growth", "nodes", "metrics_scrape")
)
STORES = [result for result in NODES.values() if isinstance(result, dict) and "budgets" in result]


@pytest.mark.parametrize("what", GROWTH["few"])
def test_ten_million_events_make_pages_and_decisions_little_slower(what):
    """Compared with a thousand events (`few`)."""
    most = 1.3 if what == "decision" else 2
    assert GROWTH["events"] >= 10_000_000
    assert GROWTH["many"][what] <= most * GROWTH["few"][what]


def test_dropping_a_month_of_usage_hardly_delays_decisions():
    assert GROWTH["drop"]["taking the month out of the ledger"] < 1000
    assert GROWTH["drop"]["slowest decision during the first"] < 100


def test_four_nodes_allow_exactly_the_limit_and_apply_each_change():
    assert len(STORES) == 2
    for store in STORES:
        assert store["wrong"] == []
        assert store["changes"]["not in force"] == 0
        for budget in store["budgets"].values():
            assert (budget["allowed"], budget["nodes"]) == (budget["limit"], 4)
            assert budget["requests"] == budget["allowed"] + budget["denied"] > budget["limit"]


def test_a_rolling_upgrade_fails_no_request():
    assert NODES["upgrade"]["failed"] == 0 < NODES["upgrade"]["requests"]


def test_a_scrape_with_eight_workers_takes_less_than_20_ms():
    assert {(row["workers"], row["p99"] < 20) for rows in SCRAPES.values() for row in rows} == {(8, True)}
