"""Faults under load, behind nginx: no recorded decision is lost, no invalid key is allowed, and everything recovers.

`make faults` runs all faults and updates docs/reliability.md. This runs the most important ones.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache

import pytest

from tests.faults.causes import FAULTS
from tests.faults.installation import installed
from tests.faults.watch import problems, watch

pytestmark = pytest.mark.gateway
CHOSEN = [fault for fault in FAULTS if fault.in_ci]


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """installation(place) returns a running installation, which is created on first use."""
    with ExitStack() as stack:
        yield cache(lambda place: stack.enter_context(installed(place, tmp_path_factory.mktemp("site"))))


@pytest.mark.parametrize("fault", CHOSEN, ids=[fault.name for fault in CHOSEN])
def test_the_promises_hold_during_a_fault(installation, fault):
    result = watch(installation(fault.place), fault, before=0.5, after=0.5)
    assert problems(result, fault) == [], result
