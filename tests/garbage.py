"""Spend less time on garbage collection (a pytest plugin: see pyproject.toml).

Modules and collected tests are millions of objects that live until the end. Scanning them repeatedly took a third of the time
of collecting tests.
"""

from __future__ import annotations

import gc

import pytest

gc.disable()  # while modules are imported, too


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000)
        gc.enable()
