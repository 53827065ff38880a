"""Counters in the project's PostgreSQL: a hit is one statement, committed at once.

It uses a connection per thread, not Django's: in the request's transaction, a hit would lock the counter for everyone else
until the request ends. Migration 0002 creates the tables, 0014 the procedure.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, TypedDict, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from psycopg import errors

from ratelimits.budgets import SECOND, WINDOW_SECONDS, Budget, Charge, Counter, Reading, counter_keys, reading_of
from ratelimits.stores import TIMEOUT, DurableStore, Held, StoreUnavailable, close_connection

T = TypeVar("T")
Values = Sequence[Any] | Mapping[str, Any]

# The server cancels a statement after this share of the time we wait for an answer. This tells a busy counter from a server
# that hangs.
SERVER_SHARE = 0.6
# Seconds a hit may wait for a locked counter, and that housekeeping may take.
MAX_WAIT = 2.0
# Seconds until the server ends a transaction whose process hangs while it holds quotas.
MAX_IDLE = 30
CLOCK = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
CHARGE = "CALL rate_limit_charge(NULL, %(keys)s::text[], %(shorts)s, %(ends)s::int[], %(terms)s::bigint[], %(clock)s::bigint)"
PEEK = f"""
SELECT clock.now, c.key, c.at, c.span, c.used
FROM (SELECT coalesce(%s::bigint, {CLOCK}) AS now) AS clock LEFT JOIN (
    SELECT * FROM rate_counters WHERE key = ANY(%s::text[]) UNION ALL SELECT * FROM rate_quotas WHERE key = ANY(%s::text[])
) AS c ON true
"""
HOLD = f"SELECT {CLOCK}, key, at, span, used FROM rate_quotas WHERE key = ANY(%s::text[]) ORDER BY key FOR UPDATE"
CREATE_HELD = """
INSERT INTO rate_quotas (key, at, span, used)
SELECT key, 0, 0, 0 FROM unnest(%s::text[]) AS key ORDER BY key COLLATE "C" ON CONFLICT DO NOTHING
"""
WRITE_HELD = """
UPDATE rate_quotas AS c SET at = held.at, span = held.span, used = held.used
FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[]) AS held (key, at, span, used)
WHERE c.key = held.key AND c.key = ANY(%s::text[])
"""
SWEEP = f"""
WITH page AS (SELECT key, at FROM %(table)s WHERE key > %%s ORDER BY key LIMIT %%s),
expired AS (
    DELETE FROM %(table)s AS c USING page WHERE c.key = page.key AND page.at <= coalesce(%%s::bigint, {CLOCK}) AND c.at = page.at
    RETURNING 1
)
SELECT (SELECT count(*) FROM expired), (SELECT count(*) FROM page), (SELECT max(key) FROM page)
"""
TABLES = ("rate_counters", "rate_quotas")
TABLE_IS_LOCKED = """
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND relation IN ('rate_counters'::regclass, 'rate_quotas'::regclass)
)
"""


class ChargeParameters(TypedDict):
    """What rate_limit_charge takes (migration 0014), and the rule of each budget."""

    keys: list[str]
    shorts: int
    ends: list[int]
    terms: list[int]
    rules: list[int | None]


class TimeoutConnection(psycopg.Connection[Any]):
    """Waits `timeout` seconds for an answer: a server that hangs doesn't notice its own statement_timeout."""

    timeout = TIMEOUT

    def __del__(self) -> None:  # type: ignore[override]
        # psycopg's own method would warn about a connection that its thread has left open.
        self.pgconn.finish()

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        return super().wait(gen, interval, timeout=self.timeout if timeout is None else timeout)


class PostgreSQLStore(DurableStore):
    name = "postgresql"

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._local = threading.local()
        self._swept_up_to = dict.fromkeys(TABLES, "")

    def hit_many(self, charges: Sequence[Charge], *, clock: int | None = None) -> list[Reading]:
        [(answer,)] = self._run(CHARGE, {**charge_parameters(charges), "clock": clock})
        return parse_answer(charges, answer)

    @staticmethod
    def hit_with(run: Callable[[ChargeParameters], Sequence[int]], charges: Sequence[Charge]) -> list[Reading] | None:
        """Like `hit_many`, through `run`, which calls rate_limit_charge on Django's connection; None if the counters stay locked."""
        try:
            return parse_answer(charges, run(charge_parameters(charges)))
        except OperationalError as error:
            if isinstance(error.__cause__, errors.LockNotAvailable):
                return None
            raise

    @contextmanager
    def held(self, keys: Collection[str], *, clock: int | None = None) -> Iterator[Held]:
        connection, rows = self._retry(lambda connection: (connection, hold(connection, list(keys))))
        counters = {key: Counter(at, span, used) for _, key, at, span, used in rows if at}
        before = dict(counters)
        try:
            yield Held(counters, max(row[0] for row in rows) if clock is None else clock)
            changed = {key: counter for key, counter in counters.items() if counter != before.get(key)}
            if changed:
                columns = zip(*changed.values(), strict=True)
                connection.execute(WRITE_HELD, [list(changed), *map(list, columns), list(changed)])
            connection.execute("COMMIT")
        except (psycopg.Error, errors._WaitTimeout) as error:
            connection.close()
            raise StoreUnavailable(f"PostgreSQL: {error}") from error
        except BaseException:
            connection.close()  # rolls back
            raise

    def peek(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        keys = [budget.counter_key for budget in budgets]
        rows = self._run(PEEK, [clock, keys, keys])
        found = {key: Counter(at, span, used) for _, key, at, span, used in rows if key is not None}
        return reading_of(budgets, tuple(found.get(key) for key in keys), cost, rows[0][0])

    def reset(self, keys: Collection[str]) -> None:
        known = counter_keys(keys)
        for table in TABLES:
            self._run(f"DELETE FROM {table} WHERE key = ANY(%s) RETURNING 1", [known])

    def sweep(self, *, batch: int = 1000, clock: int | None = None) -> int:
        expired = 0
        for table in TABLES:
            values = [self._swept_up_to[table], batch, clock]
            removed, seen, last = self._run(SWEEP % {"table": table}, values)[0]
            self._swept_up_to[table] = last if seen == batch else ""
            expired += removed
        return expired

    def count(self) -> int:
        return sum(int(self._run_long(f"SELECT count(*) FROM {table}")[0][0]) for table in TABLES)

    def clear(self) -> None:
        for table in TABLES:
            self._run_long(f"DELETE FROM {table} RETURNING 1")

    def close(self) -> None:
        close_connection(self._local)

    def _run(self, sql: str, values: Values = ()) -> list[Any]:
        return self._retry(lambda connection: connection.execute(sql, values).fetchall())

    def _retry(self, work: Callable[[TimeoutConnection], T]) -> T:
        """Call `work` with this thread's connection until no counter is locked."""
        deadline = time.monotonic() + MAX_WAIT
        try:
            while True:
                try:
                    return self._execute(work)
                except (errors.QueryCanceled, errors.LockNotAvailable):
                    # The server answers, so the counter is locked, or else the whole table.
                    if time.monotonic() > deadline or self._execute(a_table_is_locked):
                        raise
        except errors._WaitTimeout as error:
            self._local.connection.close()  # or its late answer would be read as the next one's
            raise StoreUnavailable(f"PostgreSQL didn't answer within {self._timeout * 1000:.0f} ms") from error
        except psycopg.Error as error:
            raise StoreUnavailable(f"PostgreSQL: {error}") from error

    def _execute(self, work: Callable[[TimeoutConnection], T]) -> T:
        connection, is_new = self._connection()
        try:
            return work(connection)
        except errors.ReadOnlySqlTransaction:
            # A session stays read-only even when the database no longer is, or another server has taken over.
            connection.close()
            if is_new:
                raise
        except errors.OperationalError:
            if is_new or not connection.closed:
                raise
        # PostgreSQL was restarted since the last hit.
        return work(self._connection()[0])

    def _run_long(self, sql: str) -> list[Any]:
        try:
            connection, _ = self._connection()
            connection.timeout = max(MAX_WAIT, self._timeout)
            try:
                with connection.transaction():
                    connection.execute(
                        f"SET LOCAL statement_timeout = {MAX_WAIT * 1000:.0f}; SET LOCAL enable_seqscan = on"
                    )
                    return connection.execute(sql).fetchall()
            finally:
                connection.timeout = self._timeout
        except psycopg.Error as error:
            raise StoreUnavailable(f"PostgreSQL: {error}") from error

    def _connection(self) -> tuple[TimeoutConnection, bool]:
        connection = getattr(self._local, "connection", None)
        # A forked worker must not use its parent's connection.
        if connection is not None and not connection.closed and self._local.pid == os.getpid():
            return connection, False
        self._local.connection = connect(self._timeout)
        self._local.pid = os.getpid()
        return self._local.connection, True


def a_table_is_locked(connection: TimeoutConnection) -> bool:
    row = connection.execute(TABLE_IS_LOCKED).fetchone()
    return row is not None and row[0]


def hold(connection: TimeoutConnection, keys: list[str]) -> list[Any]:
    """Begin a transaction that locks these quotas, in the order of all callers; creates the ones that aren't there."""
    while True:
        connection.execute("BEGIN")
        try:
            rows = connection.execute(HOLD, [keys]).fetchall()
        except psycopg.Error:
            if not connection.closed:
                connection.execute("ROLLBACK")
            raise
        if len(rows) == len(keys):
            return rows
        connection.execute("ROLLBACK")
        # Committed immediately: a caller that waits for a row must not hold a new one.
        connection.execute(CREATE_HELD, [keys])


def connect(timeout: float) -> TimeoutConnection:
    database = connections[DEFAULT_DB_ALIAS]
    parameters = database.get_connection_params()
    for django_only in ("context", "cursor_factory", "prepare_threshold"):
        parameters.pop(django_only)
    # A hit doesn't wait for the disk: if PostgreSQL crashes, quotas may lose what they counted in the last second.
    limits = f"-c statement_timeout={timeout * SERVER_SHARE * 1000:.0f} -c idle_in_transaction_session_timeout={MAX_IDLE * 1000:.0f}"
    # Statements are planned once, often while the tables are empty, and would then read all of them when they aren't any more.
    options = f"{parameters.pop('options', '')} {limits} -c synchronous_commit=off -c enable_seqscan=off"
    connection = TimeoutConnection.connect(
        **{"connect_timeout": 2, **parameters}, options=options, autocommit=True, application_name="gatehouse limiter"
    )
    connection.prepare_threshold = 2
    connection.timeout = timeout
    return connection


# --- What rate_limit_charge takes and what it answers ------------------------------------------------------------------


def charge_parameters(charges: Sequence[Charge]) -> ChargeParameters:
    budgets = [budget for charge in charges for budget in charge.budgets]
    lasting = {budget.counter_key: budget.is_lasting for budget in budgets}
    # All callers lock in this order, so that two that share budgets can't deadlock.
    keys = sorted(lasting, key=lambda key: (lasting[key], key))
    places = {key: place for place, key in enumerate(keys, start=1)}
    return {
        "keys": keys,
        "shorts": len(keys) - sum(lasting.values()),
        "ends": list(accumulate(len(charge.budgets) for charge in charges)),
        "terms": [
            term
            for charge in charges
            for budget in charge.budgets
            for term in (places[budget.counter_key], *budget_terms(budget, charge.cost))
        ],
        "rules": [budget.rule_id for budget in budgets],
    }


def budget_terms(budget: Budget, cost: int) -> tuple[int, int, int, int, int]:
    """Share, room, span, kind (1: rolling, 2: week), and 1 if it only observes.

    The span of months is 1 less the billing day: 0 or less.
    """
    share, observes = budget.share(cost), int(budget.observe)
    if budget.is_rolling:
        span = budget.limit * budget.step
        return share, span, span, 1, observes
    if budget.window == "month":
        return share, budget.limit, 1 - budget.billing_day, 0, observes
    span = WINDOW_SECONDS.get(budget.window, budget.period) * SECOND
    return share, budget.limit, span, 2 if budget.window == "week" else 0, observes


def parse_answer(charges: Sequence[Charge], answer: Sequence[int]) -> list[Reading]:
    """What rate_limit_charge answered."""
    now, place, read = answer[0], 1, []
    for budgets, _ in charges:
        end = place + 1 + 4 * len(budgets)
        rows = [answer[start : start + 4] for start in range(place + 1, end, 4)]
        counters = tuple(Counter(at, span, used) if at else None for _, at, span, used in rows)
        read.append(Reading(answer[place] == 1, now, tuple(fits == 1 for fits, *_ in rows), counters))
        place = end
    return read
