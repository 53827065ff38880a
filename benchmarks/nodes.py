"""Check that several nodes act as one, measure what decisions cost each component, and that upgrades fail no requests.

    python -m benchmarks.nodes        or: make nodes

Starts PostgreSQL, Redis, nginx and up to four nodes of Gatehouse, each with its own address (benchmarks/machines.py). One,
two and four of these nodes are measured in turns. Writes benchmarks/results/nodes.json, and the tables in docs/scaling.md from
it. Exits with 1 if a budget was exceeded, a change wasn't in force or an upgrade failed a request.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

# Needed by Django's settings. The server's port is only known when it runs.
os.environ["TEST_DATABASE_URL"] = "postgres://postgres@127.0.0.1:1/postgres"

import tests.environment  # noqa: F401  (before Django's settings are read)

os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
# Nodes with production settings don't start with it.
del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]

import django

django.setup()

from django.core.management import call_command
from django.db import connection

from apikeys.models import Job
from benchmarks.documents import replace_figures
from benchmarks.machines import Network, network
from benchmarks.nodes_acting import acting_as_one
from benchmarks.nodes_cost import costs
from benchmarks.nodes_tables import extrapolated_table, tables
from benchmarks.verification import python
from tests.apikeys.gateway.clusters import Cluster, cluster
from tests.config.nodes import nodes_behind_nginx
from tests.config.upgrade import BASELINE, upgraded
from tests.ratelimits.stores.redis_faults import redis_server

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "nodes.json"
DOCUMENT = ROOT / "docs" / "scaling.md"
NODES = 4


class Site(NamedTuple):
    directory: Path
    network: Network
    postgresql: Cluster
    redis: Any

    def settings(self, store: str) -> dict[str, str]:
        return {
            "DEBUG": "false",
            "HTTPS_ONLY": "false",
            "NODES": str(NODES),
            "ALLOWED_HOSTS": self.network.hub.address,
            "GATEWAY_TRUSTED": self.network.addresses,
            "STATIC_ROOT": str(self.directory / "static"),
            "VAR_DIR": str(self.directory),
            "REDIS_URL": f"redis://{self.network.hub.address}:{self.redis.port}/0" if "Redis" in store else "",
            "RATE_LIMIT_STORE_TIMEOUT": "5000",  # this machine runs everything
            "LOG_LEVEL": "WARNING",
        }


def main() -> int:
    options = parse_arguments()
    with tempfile.TemporaryDirectory() as directory, site(Path(directory)) as site_in_use:
        results: dict[str, Any] = {
            "nodes are": site_in_use.network.kind,
            "cores": os.cpu_count(),
            "workers of a node": 1,
        }
        for store in ("PostgreSQL", "PostgreSQL and Redis"):
            results[store] = measure(site_in_use, store, options)
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        results["upgrade"] = upgrade(site_in_use)
        print(results["upgrade"])
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    replace_figures(DOCUMENT, "benchmarks.nodes", tables(results))
    replace_figures(DOCUMENT, "benchmarks.nodes, on paper", extrapolated_table(results))
    wrong = [name for store in ("PostgreSQL", "PostgreSQL and Redis") for name in results[store]["wrong"]]
    wrong += ["upgrade"] if results["upgrade"]["failed"] else []
    print(f"Problems: {', '.join(wrong)}" if wrong else "No problems found.")
    return 1 if wrong else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=3, help="for each number of nodes in each round")
    return parser.parse_args()


@contextmanager
def site(directory: Path) -> Iterator[Site]:
    with network(NODES) as net:
        hub = net.hub.address
        as_neighbour = ("--bind", hub, "127.0.0.1", "--protected-mode", "no")
        with cluster(address=hub, clients=net.addresses) as postgresql, redis_server(directory, *as_neighbour) as redis:
            connection.settings_dict.update(HOST=hub, PORT=postgresql.port)
            call_command("migrate", verbosity=0)
            call_command("bootstrap")
            site_in_use = Site(directory, net, postgresql, redis)
            yield site_in_use
            connection.close()


def measure(site_in_use: Site, store: str, options: argparse.Namespace) -> dict[str, Any]:
    net, hub = site_in_use.network, site_in_use.network.hub.address
    directory = site_in_use.directory / store.replace(" ", "-")
    settings = site_in_use.settings(store)
    python(["manage.py", "collectstatic", "--noinput", "-v0"], settings)
    Job.objects.all().delete()  # so that all are due
    with nodes_behind_nginx(directory, net.nodes, host=hub, checked=True, RUN_JOBS="true", **settings) as (
        front,
        nodes,
    ):
        found = acting_as_one(front, nodes)
        parts = {"PostgreSQL": site_in_use.postgresql.processes()[0]} | (
            {"Redis": site_in_use.redis.pid} if "Redis" in store else {}
        )
        found["cost"] = costs(directory, nodes, parts, options.rounds, options.seconds, host=hub)
        found["load average"] = round(os.getloadavg()[1], 1)  # over five minutes
    return found


def upgrade(site_in_use: Site) -> dict[str, Any]:
    """Upgrade nodes that use a separate database."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE upgrade")
    url = site_in_use.postgresql.url.rpartition("/")[0] + "/upgrade"
    hub = site_in_use.network.hub.address
    environment = {"DATABASE_URL": url, "GATEWAY_TRUSTED": site_in_use.network.addresses, "ALLOWED_HOSTS": hub}
    load = upgraded(site_in_use.directory / "upgrade", site_in_use.network.nodes, host=hub, **environment)
    failed = [answer for answer in load.answers if answer.status != 200]
    return {
        "from": BASELINE.read_text().split()[0],
        "nodes": NODES,
        "requests": len(load.answers) + len(load.errors),
        "failed": len(failed) + len(load.errors),
    }


if __name__ == "__main__":
    sys.exit(main())
