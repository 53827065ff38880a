from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from django.conf import settings

from ratelimits import limiter as limiter_module
from ratelimits.limiter import Limiter, limiter
from ratelimits.stores.memory import MemoryStore
from ratelimits.stores.postgresql import PostgreSQLStore
from ratelimits.stores.redis import RedisStore
from ratelimits.stores.split import SplitStore
from ratelimits.stores.sqlite import SQLiteStore
from tests.ratelimits.processes import PATIENCE
from tests.services import redis_url

# The PostgreSQL store needs PostgreSQL as the database; all tests run on both (tests/run.py).
ON_POSTGRESQL = (
    (pytest.param("postgresql", marks=[pytest.mark.postgresql, pytest.mark.django_db]),)
    if os.environ["DATABASE_URL"].startswith("postgres")
    else ()
)
STORES = ("memory", "sqlite", pytest.param("redis", marks=pytest.mark.redis), *ON_POSTGRESQL)
SHARED_STORES = STORES[1:]


@pytest.fixture
def make_store(request, tmp_path):
    """Create a store by name. The first is empty; each further call returns another instance with the same counters.

    "redis" keeps lasting budgets in a durable store, as the limiter does: in the database if that is PostgreSQL.
    """
    made = []

    def create(name):
        if name == "memory":
            return MemoryStore()
        if name == "sqlite":
            return SQLiteStore(tmp_path / "counters.sqlite3", timeout=PATIENCE)
        if name == "redis":
            durable = create("postgresql" if ON_POSTGRESQL else "sqlite")
            return SplitStore(RedisStore(redis_url(), timeout=PATIENCE), durable)
        request.getfixturevalue("db")  # requested only here, because other stores don't need it
        return PostgreSQLStore(timeout=PATIENCE)

    def make(name):
        store = create(name)
        if not made:
            store.clear()
        made.append(store)
        return store

    yield make
    for store in made:
        store.clear()
        store.close()


@pytest.fixture(params=STORES)
def store(request, make_store):
    return make_store(request.param)


@pytest.fixture(params=SHARED_STORES)
def shared_store(request, make_store):
    """A store that other processes can use."""
    return make_store(request.param)


@pytest.fixture(scope="session")
def eight_processes():
    with ProcessPoolExecutor(8, mp_context=get_context("spawn")) as pool:
        yield pool


@pytest.fixture
def use_store(monkeypatch):
    """Make the limiter of this process use another store."""
    used = []

    def use(store):
        replacement = Limiter(store)
        used.append(replacement)
        monkeypatch.setattr(limiter_module, "_limiters", [replacement])
        return replacement

    yield use
    for replacement in used:
        replacement.breaker.stop()


@pytest.fixture
def memory(use_store):
    """The limiter of this process counts in memory, for tests that aren't about stores."""
    use_store(MemoryStore())
    assert settings.RATE_LIMITER_ENABLED
    return limiter()
