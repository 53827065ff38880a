"""The parts of the suite that tests/run.py runs side by side (a pytest plugin: see pyproject.toml).

On Python 3.11, tests take half as much time again while coverage is measured. So on PostgreSQL, only tests that commit or are
marked `postgresql` are measured: the others reach the same lines on SQLite. Tests with browsers and gateways are never
measured: they reach the lines of other tests. Measured tests come first, because a thread that outlives a test isn't measured
after a pause.
"""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import TransactionTestCase

UNMEASURED = {"browser", "gateway"}
ONCE = UNMEASURED | {"once"}


def pytest_addoption(parser):
    parser.addoption(
        "--part",
        choices=("database", "other"),
        help="only the tests whose outcome may depend on the database, or only the others",
    )


def pytest_collection_modifyitems(config, items):
    if part := config.getoption("part"):
        others = [item for item in items if depends_on_database(item) != (part == "database")]
        config.hook.pytest_deselected(items=others)
        deselected = set(others)
        items[:] = [item for item in items if item not in deselected]
        if measuring(config):
            items.sort(key=is_measured, reverse=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Importing modules is measured once: in the part on SQLite."""
    coverage = measuring(session.config)
    if coverage and not (session.config.getoption("part") == "database" and connection.vendor == "sqlite"):
        coverage.pause()
        result = yield
        coverage.resume()
        return result
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item):
    if (coverage := measuring(item.config)) and not is_measured(item):
        coverage.pause()


def measuring(config):
    """pytest-cov's controller in a part that runs with --cov."""
    plugin = config.pluginmanager.getplugin("_cov")
    return plugin.cov_controller if plugin and config.getoption("part") else None


def is_measured(item):
    marks = marks_of(item)
    return not marks & UNMEASURED and (connection.vendor == "sqlite" or "postgresql" in marks or commits(item))


def marks_of(item):
    return {mark.name for mark in item.iter_markers()}


def commits(item):
    in_its_mark = any(mark.kwargs.get("transaction") for mark in item.iter_markers("django_db"))
    return in_its_mark or "transactional_db" in item.fixturenames


def depends_on_database(item):
    marks = marks_of(item)
    if marks & ONCE:
        return False
    in_a_test_case = item.cls is not None and issubclass(item.cls, TransactionTestCase)
    return in_a_test_case or "django_db" in marks or not {"db", "transactional_db"}.isdisjoint(item.fixturenames)
