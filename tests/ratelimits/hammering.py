"""What the processes of a concurrency test run; they only share a store with the test."""

from __future__ import annotations

import time
from pathlib import Path

from django.db import connections

from ratelimits.stores.postgresql import PostgreSQLStore
from ratelimits.stores.redis import RedisStore
from ratelimits.stores.split import SplitStore
from ratelimits.stores.sqlite import SQLiteStore

# Seconds. These tests are about exact counts, and a busy machine isn't an outage.
PATIENCE = 5.0


def address_of(store):
    """What another process needs to open this store."""
    if store.name == "sqlite":
        return store.name, str(store.path)
    if store.name == "redis":
        return store.name, (store.short._url, address_of(store.lasting))
    return store.name, connections["default"].settings_dict["NAME"]


def opened(name, address):
    if name == "sqlite":
        return SQLiteStore(Path(address), timeout=PATIENCE)
    if name == "redis":
        url, durable = address
        return SplitStore(RedisStore(url, timeout=PATIENCE), opened(*durable))
    connections["default"].settings_dict["NAME"] = address
    return PostgreSQLStore(timeout=PATIENCE)


def hammer(address, budgets, hits, start_at):
    """Hit the budgets `hits` times, starting at `start_at`; returns how many hits were allowed."""
    store = opened(*address)
    store.ping()
    time.sleep(max(0, start_at - time.time()))
    admitted = sum(store.hit(budgets).allowed for _ in range(hits))
    store.close()
    return admitted


def open_and_hammer(address, budget, hits, start_at):
    """Like `hammer`, but the store is opened when all processes start."""
    store = opened(*address)
    time.sleep(max(0, start_at - time.time()))
    admitted = sum(store.hit([budget]).allowed for _ in range(hits))
    store.close()
    return admitted
