"""What gunicorn's workers tell the master and each other, in memory that they share: their states, and how busy they are."""

from __future__ import annotations

import mmap
from typing import Any

BOOTING, SERVING, WORN, GONE = range(4)
SLOTS = 4096
# By the number of the worker.
states = mmap.mmap(-1, SLOTS)
busy = memoryview(mmap.mmap(-1, 4 * SLOTS)).cast("I")
# A worker may have this many more busy connections than the average, or this share of it, and always a few.
MARGIN, SHARE, FEW = 1, 1 / 8, 4


def slot_of(worker: Any) -> int:
    return int(worker.age) % SLOTS


def set_state(worker: Any, state: int) -> None:
    states[slot_of(worker)] = state


def state_of(worker: Any) -> int:
    return int(states[slot_of(worker)])


def surplus_of(worker: Any, connections: int) -> int:
    """How many connections the worker should give up. connections: the busy ones that it has.

    Clients keep connections open. The kernel doesn't spread them, so otherwise one worker may have most of the work while
    others are idle, and one that replaces another may have none.
    """
    busy[slot_of(worker)] = connections
    serving = [busy[slot] for slot, state in enumerate(states[:]) if state == SERVING]
    average = sum(serving) / max(1, len(serving))
    return 0 if connections <= FEW else max(0, int(connections - average - max(MARGIN, average * SHARE)))
