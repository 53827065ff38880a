"""Wait for a condition instead of a fixed time, because test machines differ in speed."""

from __future__ import annotations

import time


def wait_until(condition, seconds=60, *, every=0.02, what="Nothing happened."):
    """Return the first true value of condition(). seconds: much longer than it takes on a busy machine."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(every)
    return found
