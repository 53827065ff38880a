"""The parts of the suite that tests/run.py runs side by side (a pytest plugin: see pyproject.toml).

On Python 3.11, measuring coverage makes tests take half as much time again. So on PostgreSQL, it's only measured for tests that
commit or are marked `postgresql`, because the others cover the same lines on SQLite. It's never measured for tests with
browsers and gateways, which cover the same lines as other tests. Measured tests run first, because a thread that outlives
its test isn't measured after a pause.
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
        help="only the tests whose outcome can depend on the database, or only the others",
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
    """Only measure imports in the part on SQLite."""
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
    """pytest-cov's controller, if a part runs with --cov."""
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
