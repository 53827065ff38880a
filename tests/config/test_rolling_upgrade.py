"""From the previous release to this one: migrations first, then node by node behind nginx, while clients ask all the time."""

from __future__ import annotations

import pytest

from tests.apikeys.gateway.clusters import cluster
from tests.apikeys.gateway.servers import HERE
from tests.config.upgrade import upgraded


@pytest.mark.gateway
def test_an_upgrade_node_by_node_fails_no_request(tmp_path):
    with cluster() as server:
        load = upgraded(tmp_path, [HERE] * 2, DATABASE_URL=server.url)
    assert load.errors == []
    assert {answer.status for answer in load.answers} == {200}
