"""Four nodes on one PostgreSQL, with and without Redis, behind nginx, behave like one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.db import connection

from accounts import addresses
from apikeys.models import Job
from ratelimits.stores.redis import RedisStore
from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.load import Clients
from tests.apikeys.gateway.servers import HERE
from tests.config.node_checks import LIMITED, add_limits, changes, verdict, verdicts, visit
from tests.config.nodes import nodes_behind_nginx
from tests.services import redis_url
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="several nodes need PostgreSQL"),
]
NODES = 4
BUDGET = 60


def store_settings(store):
    """Settings of the nodes for this rate limit store."""
    if store == "PostgreSQL":
        return {}
    RedisStore(redis_url()).clear()
    return {"REDIS_URL": redis_url()}


@pytest.fixture(params=["PostgreSQL", pytest.param("Redis", marks=pytest.mark.redis)])
def cluster(request, tmp_path):
    """nginx and four nodes, which also run the scheduled jobs."""
    options = {"RUN_JOBS": "true", **store_settings(request.param)}
    with nodes_behind_nginx(tmp_path, [HERE] * NODES, **options) as started:
        yield started


def test_four_nodes_act_as_one(alice, bob, cluster):
    front, nodes = cluster
    add_limits(alice, BUDGET)
    check_budgets(front, make_key(alice).secret)
    check_changes(front, nodes, make_key(bob))
    check_pages(front, alice)
    check_jobs(nodes)


def check_budgets(front, secret):
    for path in LIMITED:
        statuses, answered_by = verdicts(front, secret, path, 2 * BUDGET)
        assert statuses == {200: BUDGET, 429: BUDGET}, path
        assert len(answered_by) == NODES


def check_changes(front, nodes, key):
    """Every node applies each change to the next request, under load."""
    with Clients(front.port, [key.secret]) as load:
        for name, change, expected in changes(key):
            load.wait_for(NODES * 5)
            change()
            assert [verdict(each, key.secret)[1] for each in nodes] == [expected] * NODES, name
    assert load.errors == []


def check_pages(front, user):
    """Sign-in, a form and its result work although each request goes to another node."""
    addresses.set_address(user, verified=True)
    pages, answered_by = visit(front, user, "Alice Liddell", NODES)
    assert all("Alice Liddell" in page for page in pages)
    assert len(answered_by) == NODES


def check_jobs(nodes):
    """Every node looks for due jobs, but each job runs once."""
    wait_until(lambda: Job.objects.filter(is_ok=True).count() == Job.objects.count() > 0)
    lines = "".join(Path(each.log).read_text() for each in nodes)
    runs = re.findall(r"^(\w+): ", lines, re.MULTILINE)
    assert sorted(runs) == sorted(Job.objects.values_list("name", flat=True))
