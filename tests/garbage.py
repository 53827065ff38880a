"""Spend less time on garbage collection (a pytest plugin: see pyproject.toml).

Collected tests are millions of objects that live until the end. Scanning them repeatedly took a third of the time
of collecting tests.
"""

from __future__ import annotations

import gc

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
