"""A rolling upgrade from the previous release: migrations, then node by node behind nginx, under load."""

from __future__ import annotations

import pytest

from tests.apikeys.gateway.clusters import cluster
from tests.apikeys.gateway.servers import HERE
from tests.config.upgrade import upgraded


@pytest.mark.gateway
def test_a_rolling_upgrade_fails_no_request(tmp_path):
    with cluster() as server:
        load = upgraded(tmp_path, [HERE] * 2, DATABASE_URL=server.url)
    assert load.errors == []
    assert {answer.status for answer in load.answers} == {200}
