"""Counters in Redis 5+ or Valkey: one Lua script per hit, the server's clock, and expiry instead of sweeping.

Values are text (`at span used`), which is readable in redis-cli. Redis Cluster isn't supported: all budgets of a request
must be on one server.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ratelimits.budgets import CLOCK_SLACK, SECOND, Budget, Counter, Reading, counter_keys, month_bounds
from ratelimits.stores import TIMEOUT, StoreUnavailable, machine_clock, probe

PREFIX = "gatehouse:limit:"
# The arithmetic of ratelimits/budgets.py. KEYS: the counters. ARGV: 1 to charge or 0 to peek, the clock or 0 for the server's,
# then for each budget: share, limit, span (0: a month), 1 for rolling, 1 for observe; finally the starts of nearby months.
# Returns a string, which parses faster than a list: allowed, the clock, then for each budget: fits, at, span, used (at is 0
# for an empty counter).
SCRIPT = f"""
local now = tonumber(ARGV[2])
if now == 0 then
    local time = redis.call('TIME')
    now = time[1] * {SECOND} + time[2]
end
local answer, allowed, after = {{1, now}}, 1, {{}}
for i, key in ipairs(KEYS) do
    local base = 5 * i - 2
    local share, limit, span = tonumber(ARGV[base]), tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2])
    local rolling, observe = ARGV[base + 3] == '1', ARGV[base + 4] == '1'
    local at, was_span, used = 0, 0, 0
    local value = redis.call('GET', key)
    if value then
        at, was_span, used = string.match(value, '(%d+) (%d+) (%d+)')
        at, was_span, used = tonumber(at), tonumber(was_span), tonumber(used)
    end
    local new_at, new_used, fits
    local alive = value and at - now <= was_span + {CLOCK_SLACK}
    if rolling then
        local backlog = 0
        if alive and at > now then
            backlog = at - now
            if was_span ~= span then backlog = math.min(span, math.floor(backlog * span / was_span) + 1) end
        end
        new_at, new_used = now + backlog + share, 0
        fits = backlog + share <= limit
    else
        local begins
        if span == 0 then
            local month = #ARGV
            while tonumber(ARGV[month - 1]) > now do month = month - 1 end
            begins = tonumber(ARGV[month - 1])
            span = tonumber(ARGV[month]) - begins
        else
            begins = now - now % span
        end
        new_at, new_used = begins + span, share
        if alive and at > begins then
            new_used = used + share
            if was_span == span then new_at = at end
        end
        fits = new_used <= limit
    end
    after[i] = fits and {{new_at, span, new_used}}
    if not fits and not observe then allowed = 0 end
    local place = 4 * i - 1
    answer[place], answer[place + 1], answer[place + 2], answer[place + 3] = fits and 1 or 0, at, was_span, used
end
answer[1] = allowed
if allowed == 1 and ARGV[1] == '1' then
    for i, key in ipairs(KEYS) do
        local new = after[i]
        if new then
            local text = string.format('%.0f %.0f %.0f', new[1], new[2], new[3])
            redis.call('SET', key, text, 'PX', string.format('%.0f', math.ceil((new[1] - now) / 1000) + 1000))
            local place = 4 * i
            answer[place], answer[place + 1], answer[place + 2] = new[1], new[2], new[3]
        end
    end
end
for place, number in ipairs(answer) do answer[place] = string.format('%.0f', number) end
return table.concat(answer, ' ')
"""
SCRIPT_ID = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisStore:
    name = "redis"

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        self._url = url
        self._timeout = timeout
        self._local = threading.local()

    def hit(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        return self._read(budgets, cost, clock, charge=True)

    def peek(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        return self._read(budgets, cost, clock, charge=False)

    def reset(self, keys: Collection[str]) -> None:
        self._ask("DEL", *(PREFIX + key for key in counter_keys(keys)))

    def sweep(self, *, batch: int = 1000, clock: int | None = None) -> int:
        """Nothing to do: Redis removes expired counters."""
        return 0

    def count(self) -> int:
        return sum(len(keys) for keys in self._pages())

    def clear(self) -> None:
        for keys in self._pages():
            if keys:
                self._ask("UNLINK", *keys)

    def ping(self) -> None:
        probe(self)

    def close(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.disconnect()
        vars(self._local).clear()

    def _read(self, budgets: Sequence[Budget], cost: int, clock: int | None, *, charge: bool) -> Reading:
        keys = [PREFIX + budget.counter_key for budget in budgets]
        values: list[int] = [int(charge), clock or 0]
        for budget in budgets:
            values += terms(budget, cost)
        if any(budget.window == "month" for budget in budgets):
            values += months_around(machine_clock() if clock is None else clock)
        answer = [int(number) for number in self._run_script(len(keys), *keys, *values).split()]
        rows = [answer[place : place + 4] for place in range(2, len(answer), 4)]
        counters = tuple(Counter(at, span, used) if at else None for _, at, span, used in rows)
        return Reading(bool(answer[0]), answer[1], tuple(bool(row[0]) for row in rows), counters)

    def _run_script(self, *arguments: Any) -> Any:
        try:
            return self._ask("EVALSHA", SCRIPT_ID, *arguments)
        except redis.exceptions.NoScriptError:
            return self._ask("EVAL", SCRIPT, *arguments)

    def _pages(self) -> Iterator[list[bytes]]:
        cursor: Any = "0"
        while True:
            cursor, keys = self._ask("SCAN", cursor, "MATCH", f"{PREFIX}*", "COUNT", 1000)
            yield keys
            if int(cursor) == 0:
                return

    def _ask(self, *command: Any) -> Any:
        """Run a command on this thread's connection, at half the cost of redis-py's pooled client."""
        try:
            return self._send(command)
        except redis.exceptions.NoScriptError:
            raise
        except redis.TimeoutError as error:
            raise StoreUnavailable(f"Redis didn't answer within {self._timeout * 1000:.0f} ms") from error
        except (redis.RedisError, OSError) as error:
            raise StoreUnavailable(f"Redis: {error}") from error

    def _send(self, command: tuple[Any, ...]) -> Any:
        connection, is_new = self._connection()
        try:
            connection.send_command(*command)
            return connection.read_response()
        except redis.exceptions.NoScriptError:
            raise
        except redis.TimeoutError:
            connection.disconnect()  # or its late answer would be read as the next one's
            raise
        except (redis.RedisError, OSError):
            connection.disconnect()
            if is_new:
                raise
        # The server closed an idle connection, restarted, or became read-only because another one took over: try a new one.
        connection.send_command(*command)
        return connection.read_response()

    def _connection(self) -> tuple[Any, bool]:
        # A forked worker must not use its parent's connection.
        if getattr(self._local, "pid", None) == os.getpid():
            return self._local.connection, False
        pool = redis.ConnectionPool.from_url(
            self._url,
            socket_timeout=self._timeout,
            socket_connect_timeout=self._timeout,
            retry=Retry(NoBackoff(), 0),
            # No commands before ours: each could be the one that hangs.
            protocol=2,
            driver_info=None,
        )
        self._local.connection = pool.make_connection()
        self._local.pid = os.getpid()
        return self._local.connection, True


def terms(budget: Budget, cost: int) -> tuple[int, int, int, int, int]:
    """Share, limit, span, rolling, observe."""
    if budget.is_rolling:
        span = budget.limit * budget.step
        return budget.share(cost), span, span, 1, int(budget.observe)
    span = 0 if budget.window == "month" else budget.period * SECOND
    return budget.share(cost), budget.limit, span, 0, int(budget.observe)


def months_around(now: int) -> list[int]:
    """The starts of the previous, the current and the next two months: the server's clock may differ a little."""
    begins, ends = month_bounds(now)
    return [month_bounds(begins - 1)[0], begins, ends, month_bounds(ends)[1]]
