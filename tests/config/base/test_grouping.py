"""PostgreSQL groups rows by hash only where it's asked to."""

from __future__ import annotations

import pytest
from django.db import connection

from config.base.database import grouping_by_hash

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one way to group"),
]


def planner():
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('enable_sort'), current_setting('jit')")
        return cursor.fetchone()


def test_settings_of_the_planner_end_with_the_transaction():
    before = planner()
    with grouping_by_hash():
        assert planner() == ("off", "off")
    assert planner() == before == ("on", before[1])
