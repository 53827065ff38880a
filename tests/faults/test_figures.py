"""The results in docs/reliability.md cover all faults and keep its promises."""

from __future__ import annotations

import json

import pytest

from tests.apikeys.gateway.servers import ROOT
from tests.faults.causes import FAULTS
from tests.faults.watch import problems

RESULTS = {result["fault"]: result for result in json.loads((ROOT / "benchmarks/results/faults.json").read_text())}


def test_each_fault_is_measured_and_documented():
    assert list(RESULTS) == [fault.name for fault in FAULTS]
    shown = (ROOT / "docs/reliability.md").read_text()
    assert [name for name in RESULTS if f"| {name} |" not in shown] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_measured_results_keep_the_promises(fault):
    assert problems(RESULTS[fault.name], fault) == []
