"""Compare the cost of the limiter's decisions with other limiters on the same machine in the same run.

    python -m benchmarks.limiter            # about a minute
    python -m benchmarks.limiter --million  # also with 10^6 live counters, some minutes more

BENCH_DATABASE_URL is a PostgreSQL whose role can create databases, BENCH_REDIS_URL a Redis database that is emptied.
Servers that don't respond are skipped with a message. On a busy machine, ratios are more reliable than rates.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import redis

POSTGRESQL = os.environ.get("BENCH_DATABASE_URL", "postgres://postgres@127.0.0.1:5432/postgres")
REDIS = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379/2")
SCRATCH = "gatehouse_bench"
SECONDS = 2.0
PACE = 800  # hits per second

Work = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--million", action="store_true", help="measure with 10^6 live counters too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        has_postgresql = configure(Path(directory))
        stores = make_stores(Path(directory), has_postgresql=has_postgresql)
        rates = decisions(stores, has_postgresql=has_postgresql)
        ratios(rates)
        paced(stores)
        matching()
        if options.million:
            million(stores)
        for store in stores.values():
            store.clear()
            store.close()
    drop_scratch(has_postgresql=has_postgresql)


def configure(directory: Path) -> bool:
    """Set up Django with a scratch database. Returns whether that is PostgreSQL."""
    url = ""
    with suppress(psycopg.OperationalError), psycopg.connect(POSTGRESQL, autocommit=True, connect_timeout=3) as server:
        server.execute(f"DROP DATABASE IF EXISTS {SCRATCH}")
        server.execute(f"CREATE DATABASE {SCRATCH}")
        url = f"{POSTGRESQL.rpartition('/')[0]}/{SCRATCH}"
    if not url:
        print(f"!!! SKIPPED: PostgreSQL. No server responds at {POSTGRESQL}.")
    os.environ.update(
        DJANGO_SETTINGS_MODULE="config.settings",
        ENV_FILE=os.devnull,
        DEBUG="true",
        DATABASE_URL=url,
        REDIS_URL="",
        VAR_DIR=str(directory),
        RATE_LIMIT_STORE_TIMEOUT="1000",
    )
    import django
    from django.conf import settings
    from django.core.management import call_command

    settings.DEBUG = False  # otherwise Django stores every query
    settings.CACHES = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
        "table": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "bench_cache"},
        "redis": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS},
    }
    django.setup()
    call_command("migrate", verbosity=0)
    call_command("createcachetable", verbosity=0)
    return bool(url)


def drop_scratch(*, has_postgresql: bool) -> None:
    from django.db import connections

    connections.close_all()
    if has_postgresql:
        with psycopg.connect(POSTGRESQL, autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {SCRATCH} WITH (FORCE)")


def make_stores(directory: Path, *, has_postgresql: bool) -> dict:
    from ratelimits.stores.memory import MemoryStore
    from ratelimits.stores.postgresql import PostgreSQLStore
    from ratelimits.stores.redis import RedisStore
    from ratelimits.stores.sqlite import SQLiteStore

    stores = {"memory": MemoryStore(), "SQLite": SQLiteStore(directory / "counters.sqlite3", timeout=1)}
    if has_postgresql:
        stores["PostgreSQL"] = PostgreSQLStore(timeout=1)
    if redis_responds():
        stores["Redis"] = RedisStore(REDIS, timeout=1)
    else:
        print(f"!!! SKIPPED: Redis. No server responds at {REDIS}.")
    return stores


def redis_responds() -> bool:
    try:
        with redis.Redis.from_url(REDIS, socket_connect_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


# --- Decisions per second ---


def decisions(stores: dict, *, has_postgresql: bool) -> dict[str, float]:
    limiters = {f"Gatehouse, {name}": ours(store) for name, store in stores.items()}
    limiters |= {f"Gatehouse, {name}, 2 budgets": ours(store, budgets=2) for name, store in stores.items()}
    limiters |= limits_library("memory://", "memory")
    database = "PostgreSQL" if has_postgresql else "SQLite"
    limiters |= {f"DatabaseCache.incr, {database}": database_cache(), f"DRF throttle, {database}": drf("table")}
    limiters["DRF throttle, LocMem"] = drf("default")
    if "Redis" in stores:
        limiters |= limits_library(REDIS, "Redis") | {"DRF throttle, Redis": drf("redis")}
    print(f"\n{'sequential decisions':44}{'per second':>12}{'p50 µs':>10}{'p99 µs':>10}")
    rates = {}
    # The better of two runs, in turns, because other load affects all of them.
    timings = {name: min((measure(work) for _ in range(2)), key=median) for name, work in limiters.items()}
    for name, times in timings.items():
        rates[name] = len(times) / sum(times)
        print(f"{name:44}{rates[name]:12,.0f}{median(times) * 1e6:10.0f}{percentile(times, 99) * 1e6:10.0f}")
    return rates


def ours(store: object, *, budgets: int = 1) -> Work:
    from ratelimits.limiter import Budget, Limiter

    limiter = Limiter(store)
    asked = [Budget(f"user:1/rule:{number}", 10**8, 3600, name="bench") for number in range(budgets)]
    return lambda: limiter.hit(asked)


def limits_library(url: str, name: str) -> dict[str, Work]:
    import limits
    from limits.storage import storage_from_string
    from limits.strategies import MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

    item, storage = limits.parse("100000000/hour"), storage_from_string(url)
    sliding, moving = SlidingWindowCounterRateLimiter(storage), MovingWindowRateLimiter(storage)
    return {
        f"limits, {name}, sliding window counter": lambda: sliding.hit(item, "bench-sliding"),
        f"limits, {name}, moving window": lambda: moving.hit(item, "bench-moving"),
    }


def database_cache() -> Work:
    from django.core.cache import caches

    caches["table"].set("bench", 0, 3600)
    return lambda: caches["table"].incr("bench")


def drf(alias: str) -> Work:
    from django.contrib.auth.models import AnonymousUser
    from django.core.cache import caches
    from django.test import RequestFactory
    from rest_framework.throttling import AnonRateThrottle

    class Throttle(AnonRateThrottle):
        # 100 per minute, a typical limit. Larger ones are even slower, because of the list of timestamps.
        rate = "100/min"
        cache = caches[alias]

    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    return lambda: Throttle().allow_request(request, None)


def measure(work: Work, seconds: float = SECONDS) -> list[float]:
    for _ in range(50):
        work()
    times, deadline = [], time.perf_counter() + seconds
    while (began := time.perf_counter()) < deadline:
        work()
        times.append(time.perf_counter() - began)
    return times


def median(times: list[float]) -> float:
    return percentile(times, 50)


def percentile(times: list[float], share: int) -> float:
    return sorted(times)[min(len(times) - 1, len(times) * share // 100)]


def ratios(rates: dict[str, float]) -> None:
    print(f"\n{'ratio':60}{'actual':>8}{'wanted':>8}")
    sliding = "limits, Redis, sliding window counter"
    for ours_name, other, wanted in (
        ("Gatehouse, Redis", sliding, 1),
        ("Gatehouse, SQLite", sliding, 5),
        ("Gatehouse, PostgreSQL", "DatabaseCache.incr, PostgreSQL", 4),
        ("Gatehouse, Redis", "DRF throttle, Redis", 1),
    ):
        if ours_name in rates and other in rates:
            print(f"{ours_name + ' / ' + other:60}{rates[ours_name] / rates[other]:8.1f}{wanted:8}")


# --- At a steady pace ---


def paced(stores: dict) -> None:
    wanted = {"SQLite": (0.2, 2), "PostgreSQL": (0.7, 1.5), "Redis": (0.5, 1.5)}
    print(f"\n{f'at {PACE} hits/s':20}{'p50 ms':>10}{'p99 ms':>10}{'wanted':>14}")
    for name, bounds in wanted.items():
        if name in stores:
            times = at_pace(ours(stores[name]), seconds=4)
            print(
                f"{name:20}{median(times) * 1e3:10.2f}{percentile(times, 99) * 1e3:10.2f}{f'{bounds[0]} / {bounds[1]}':>14}"
            )


def at_pace(work: Work, seconds: float) -> list[float]:
    times, due = [], time.perf_counter()
    for _ in range(int(PACE * seconds)):
        time.sleep(max(0.0, due - time.perf_counter()))
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
        due = max(due + 1 / PACE, began)
    return times


# --- Matching ---


def matching() -> None:
    print(f"\n{'matching':20}{'µs':>10}{'to 10':>10}{'compiling ms':>14}")
    first = 0.0
    for number in (10, 1000, 10_000):
        cost, compiling = matching_cost(number)
        first = first or cost
        print(f"{f'{number:,} rules':20}{cost * 1e6:10.2f}{cost / first:10.1f}{compiling * 1e3:14.1f}")


def matching_cost(number: int) -> tuple[float, float]:
    from ratelimits.matching import PatternTrie

    began = time.perf_counter()
    trie: PatternTrie[int] = PatternTrie()
    for rule in range(number):
        trie.add(f"/v1/service{rule // 10}/things{rule % 10}/{{id}}", rule, ("GET", "")[rule % 2])
    compiling = time.perf_counter() - began
    rng = random.Random(1)
    paths = [f"/v1/service{rng.randrange(-(-number // 10))}/things{rng.randrange(10)}/{n}" for n in range(1000)]
    for path in paths:
        trie.match(path, "GET")
    times = []
    for _ in range(30):
        began = time.perf_counter()
        for path in paths:
            trie.match(path, "GET")
        times.append((time.perf_counter() - began) / len(paths))
    return min(times), compiling


# --- Many counters ---


def million(stores: dict) -> None:
    print(
        f"\n{'live counters':24}{'10^3 p99 ms':>14}{'10^6 p99 ms':>14}{'ratio':>8}{'longest batch of a sweep ms':>30}"
    )
    for name, store in stores.items():
        if name in {"SQLite", "PostgreSQL", "Redis"}:
            store.clear()
            few, many = filled(store, 10**3), filled(store, 10**6)
            sweep = longest_sweep(store)
            print(f"{name:24}{few * 1e3:14.2f}{many * 1e3:14.2f}{many / few:8.1f}{sweep * 1e3:30.1f}")
            sys.stdout.flush()


def filled(store: object, number: int) -> float:
    """The p99 of a hit on one of `number` live counters."""
    fill(store, number)
    rng = random.Random(1)
    times = measure(lambda: store.hit([budget(rng.randrange(number))]), seconds=3)
    return percentile(times, 99)


def budget(number: int) -> object:
    from ratelimits.limiter import Budget

    # A long period, so that no counter expires.
    return Budget(f"user:{number}/rule:1", 100, 86_000)


def fill(store: object, number: int) -> None:
    now = time.time_ns() // 1000
    rows = ((f"user:{one}/rule:1", now + 10**10, 86_000 * 10**6, 0) for one in range(number))
    if store.name == "sqlite":
        store._run("BEGIN IMMEDIATE")
        store._local.connection.executemany("INSERT OR REPLACE INTO counters VALUES (?, ?, ?, ?)", rows)
        store._run("COMMIT")
    elif store.name == "postgresql":
        store.clear()
        with psycopg.connect(f"{POSTGRESQL.rpartition('/')[0]}/{SCRATCH}", autocommit=True) as connection:
            with connection.cursor().copy("COPY rate_counters (key, at, span, used) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            connection.execute("VACUUM ANALYZE rate_counters")
    else:
        with redis.Redis.from_url(REDIS) as client:
            pipeline = client.pipeline(transaction=False)
            for place, (key, at, span, used) in enumerate(rows):
                pipeline.set(f"gatehouse:limit:{key}", f"{at} {span} {used}", px=10**7)
                if place % 5000 == 0:
                    pipeline.execute()
            pipeline.execute()


def longest_sweep(store: object) -> float:
    """The longest of 200 batches in which all counters have expired."""
    late, longest = time.time_ns() // 1000 + 10**12, 0.0
    for _ in range(200):
        began = time.perf_counter()
        store.sweep(batch=500, clock=late)
        longest = max(longest, time.perf_counter() - began)
    return longest


if __name__ == "__main__":
    main()
