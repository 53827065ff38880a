"""The parts of the suite that tests/run.py runs side by side (a pytest plugin: see pyproject.toml)."""

from __future__ import annotations

from django.test import TransactionTestCase

ONCE = {"browser", "gateway"}


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
        items[:] = [item for item in items if item not in set(others)]


def depends_on_database(item):
    marks = {mark.name for mark in item.iter_markers()}
    if marks & ONCE:
        return False
    in_a_test_case = item.cls is not None and issubclass(item.cls, TransactionTestCase)
    return in_a_test_case or "django_db" in marks or not {"db", "transactional_db"}.isdisjoint(item.fixturenames)
