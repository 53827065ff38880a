"""A PostgreSQL server that a test can stop and start."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.apikeys.gateway.servers import free_port
from tests.services import require

PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


class Cluster:
    def __init__(self, directory, programs, address, port):
        self.directory, self.programs, self.address, self.port = directory, programs, address, port
        self.url = f"postgres://postgres@{address}:{port}/postgres"

    def run(self, program, *arguments):
        # PostgreSQL doesn't run as root.
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_postgres, self.programs / program, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, cwd="/", timeout=60)

    def control(self, *arguments):
        options = f"-p {self.port} -k {self.directory} -c listen_addresses={self.address} -c max_connections=40"
        log = self.directory / "log"
        self.run("pg_ctl", "-D", self.directory / "data", "-o", options, "-l", log, "-w", *arguments)

    def is_running(self):
        try:
            self.run("pg_ctl", "-D", self.directory / "data", "status")
        except subprocess.CalledProcessError:
            return False
        return True

    def processes(self):
        """The ids of the server's process and its child processes."""
        main = (self.directory / "data" / "postmaster.pid").read_text().split()[0]
        found = subprocess.run(["pgrep", "-P", main], capture_output=True, text=True, check=True).stdout
        return [int(main), *map(int, found.split())]

    def query(self, sql, *values):
        """The rows of one statement, run in autocommit mode on a new connection."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def cluster(parent=None, *, address="127.0.0.1", clients="127.0.0.1/32"):
    """A new server. parent: the directory for its data; clients: the network that it trusts."""
    programs = next((place for place in PLACES if (place / "pg_ctl").exists()), None)
    require(programs, "Install PostgreSQL's server (Debian: apt-get install postgresql).")
    directory = Path(tempfile.mkdtemp(prefix="gatehouse-cluster-", dir=parent))
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres")
    server = Cluster(directory, programs, address, free_port())
    try:
        server.run("initdb", "-D", directory / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        with (directory / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {clients} trust\n")
        server.control("start")
        yield server
    finally:
        if (directory / "data" / "postmaster.pid").exists():
            server.control("stop", "-m", "immediate")
        shutil.rmtree(directory)
