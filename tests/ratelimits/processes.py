"""Functions that run in other processes, which only share a store with the test."""

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
    """The name and address with which another process can open this store."""
    if store.name == "sqlite":
        return store.name, str(store.path)
    if store.name == "redis":
        return store.name, (store.short._url, address_of(store.lasting))
    return store.name, connections["default"].settings_dict["NAME"]


def open_store(name, address):
    if name == "sqlite":
        return SQLiteStore(Path(address), timeout=PATIENCE)
    if name == "redis":
        url, durable = address
        return SplitStore(RedisStore(url, timeout=PATIENCE), open_store(*durable))
    connections["default"].settings_dict["NAME"] = address
    return PostgreSQLStore(timeout=PATIENCE)


def hit_repeatedly(address, budgets, hits, start_at):
    """Hit the budgets `hits` times, starting at `start_at`. Returns how many hits were allowed."""
    store = open_store(*address)
    store.ping()
    time.sleep(max(0, start_at - time.time()))
    allowed = sum(store.hit(budgets).allowed for _ in range(hits))
    store.close()
    return allowed


def open_and_hit_repeatedly(address, budget, hits, start_at):
    """Like `hit_repeatedly`, but all processes open the store at the same time."""
    store = open_store(*address)
    time.sleep(max(0, start_at - time.time()))
    allowed = sum(store.hit([budget]).allowed for _ in range(hits))
    store.close()
    return allowed
