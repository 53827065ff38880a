"""Faults under load, through a real nginx: nothing acknowledged is lost, no bad key gets in, and everything recovers by itself.

`make faults` runs all of them and writes the figures in docs/reliability.md. Here are the ones that say most.
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
    """The installation of a place, made when the first fault needs it."""
    with ExitStack() as stack:
        yield cache(lambda place: stack.enter_context(installed(place, tmp_path_factory.mktemp("site"))))


@pytest.mark.parametrize("fault", CHOSEN, ids=[fault.name for fault in CHOSEN])
def test_a_fault_loses_nothing_lets_nobody_in_and_passes(installation, fault):
    result = watch(installation(fault.place), fault, before=0.5, after=0.5)
    assert problems(result, fault) == [], result
