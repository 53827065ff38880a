"""What the processes of a concurrency test run: they share a store with the test, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

from django.db import connections

from ratelimits.stores.postgresql import PostgreSQLStore
from ratelimits.stores.redis import RedisStore
from ratelimits.stores.sqlite import SQLiteStore

# Seconds. What these tests are about is exactness, and a busy test machine is no outage.
PATIENCE = 5.0


def address_of(store):
    """What another process needs to open the same store."""
    if store.name == "sqlite":
        return store.name, str(store.path)
    if store.name == "redis":
        return store.name, store._url
    return store.name, connections["default"].settings_dict["NAME"]


def opened(name, address):
    if name == "sqlite":
        return SQLiteStore(Path(address), timeout=PATIENCE)
    if name == "redis":
        return RedisStore(address, timeout=PATIENCE)
    connections["default"].settings_dict["NAME"] = address
    return PostgreSQLStore(timeout=PATIENCE)


def hammer(address, budgets, hits, start_at):
    """Hit the budgets `hits` times from the moment `start_at`; returns how many were admitted."""
    store = opened(*address)
    store.ping()
    time.sleep(max(0, start_at - time.time()))
    admitted = sum(store.hit(budgets).allowed for _ in range(hits))
    store.close()
    return admitted


def open_and_hammer(address, budget, hits, start_at):
    """As `hammer`, but the store is first opened at the moment when everybody starts."""
    store = opened(*address)
    time.sleep(max(0, start_at - time.time()))
    admitted = sum(store.hit([budget]).allowed for _ in range(hits))
    store.close()
    return admitted
