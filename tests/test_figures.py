"""What was measured keeps what the documentation promises. tests/faults/test_figures.py does the same for faults."""

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
def test_ten_million_events_make_nothing_much_slower(what):
    """few: a thousand events."""
    most = 1.3 if what == "decision" else 2
    assert GROWTH["events"] >= 10_000_000
    assert GROWTH["many"][what] <= most * GROWTH["few"][what]


def test_a_month_leaves_the_ledger_in_less_than_a_second_and_delays_no_decision_for_long():
    assert GROWTH["drop"]["taking the month out of the ledger"] < 1000
    assert GROWTH["drop"]["slowest decision that met the first"] < 100


def test_four_nodes_admitted_exactly_the_budget_and_followed_each_change():
    assert len(STORES) == 2
    for store in STORES:
        assert store["wrong"] == []
        assert store["changes"]["not in force"] == 0
        for budget in store["budgets"].values():
            assert (budget["allowed"], budget["nodes"]) == (budget["limit"], 4)
            assert budget["requests"] == budget["allowed"] + budget["denied"] > budget["limit"]


def test_an_upgrade_of_the_nodes_failed_no_request():
    assert NODES["upgrade"]["failed"] == 0 < NODES["upgrade"]["requests"]


def test_a_scrape_with_eight_workers_takes_less_than_20_ms():
    assert {(row["workers"], row["p99"] < 20) for rows in SCRAPES.values() for row in rows} == {(8, True)}
