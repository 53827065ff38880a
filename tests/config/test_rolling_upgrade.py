"""From the previous release to this one: migrations first, then node by node behind nginx, while clients ask all the time."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from functools import partial

import pytest

from tests.apikeys.gateway.clusters import cluster
from tests.apikeys.gateway.load import Clients, as_service
from tests.apikeys.gateway.servers import ROOT, call
from tests.config.node_checks import verdict
from tests.config.nodes import node, proxy
from tests.config.upgrade import migrate, person, previous_release

pytestmark = pytest.mark.gateway
PAGES = ("/account/", "/users/", "/admin/", "/admin/apikeys/apikey/", "/account/keys/")
QUIET = {"DRAIN_SECONDS": "2", "REDIS_URL": ""}


def as_staff(session, page, client, secret):
    client.request("GET", page, headers={"Cookie": f"session={session}"})


@pytest.fixture
def database():
    with cluster() as server:
        yield server.url


def test_an_upgrade_node_by_node_fails_no_request(tmp_path, database):
    old = previous_release(tmp_path / "previous")
    env = {"DATABASE_URL": database, "VAR_DIR": str(tmp_path), **QUIET}
    migrate(old, **env)
    secret, session = person(old, "alice", **env)
    visits = [partial(as_staff, session, page) for page in PAGES]
    with ExitStack() as stack:
        places = [tmp_path / "one", tmp_path / "two"]
        nodes = [stack.enter_context(node(place, code=old, **env | {"VAR_DIR": str(place)})) for place in places]
        front = stack.enter_context(proxy(tmp_path / "nginx", *(each.port for each in nodes)))
        load = stack.enter_context(Clients(front.port, [secret], asking=(as_service, *visits), pause=0.02))
        load.wait_for(60)
        migrate(ROOT, **env)
        assert [call(each.port, path="/readyz").status for each in nodes] == [200, 200]
        bobs, _ = person(old, "bob", **env)
        load.wait_for(60)
        for place, each in zip(places, nodes, strict=True):
            each.send_signal(signal.SIGTERM)
            each.wait(60)
            stack.enter_context(node(place, port=each.port, **env | {"VAR_DIR": str(place)}))
            assert call(each.port, path="/readyz").status == 200
            load.wait_for(60)
        load.stop()
        assert verdict(front, bobs)[1] == 200
    assert load.errors == []
    assert {answer.status for answer in load.answers} == {200}
