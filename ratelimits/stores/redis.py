"""Counters in Redis 5+ or Valkey: one Lua script for all requests of a call, the server's clock, and expiry instead of sweeping.

Values are text (`at span used`), which is readable in redis-cli. Redis Cluster isn't supported: all budgets of a call
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

from ratelimits.budgets import CLOCK_SLACK, SECOND, Budget, Charge, Counter, Reading, counter_keys, current
from ratelimits.stores import TIMEOUT, Held, Store, StoreUnavailable

PREFIX = "gatehouse:limit:"
# Kinds of budgets in the script.
FIXED, ROLLING, HELD = 0, 1, 2
# The arithmetic of ratelimits/budgets.py. The requests are charged one after the other. KEYS: the counters of each of their
# budgets. ARGV: numbers in one text, which is sent and read faster than a list: 1 to charge or 0 to look, the clock or 0 for
# the server's, how many counters are held elsewhere and what is used of each, then for each request how many budgets it has,
# and for each of those: share, room, span, kind (0 fixed, 1 rolling, 2 held: the span is then its place), 1 for observe.
# Answers in one text, too: the clock, then for each request 1 if it's allowed, and for each budget: fits, at, span, used (at
# 0: nothing counted).
SCRIPT = f"""
local asked = {{}}
for number in string.gmatch(ARGV[1], '%d+') do asked[#asked + 1] = tonumber(number) end
local now = asked[2]
if now == 0 then
    local time = redis.call('TIME')
    now = time[1] * {SECOND} + time[2]
end
local held = {{}}
for i = 1, asked[3] do held[i] = asked[3 + i] end
local answer, filled = {{now}}, 1
local place, budget = 3 + asked[3], 0
while place < #asked do
    local count = asked[place + 1]
    place = place + 1
    local allowed, after = 1, {{}}
    local verdict = filled + 1
    filled = verdict
    for i = 1, count do
        local share, room, span = asked[place + 1], asked[place + 2], asked[place + 3]
        local kind, observe = asked[place + 4], asked[place + 5] == 1
        place = place + 5
        local at, was_span, used = 0, 0, 0
        local value = kind < 2 and redis.call('GET', KEYS[budget + i])
        if value then
            at, was_span, used = string.match(value, '(%d+) (%d+) (%d+)')
            at, was_span, used = tonumber(at), tonumber(was_span), tonumber(used)
        end
        local new_at, new_used, fits
        local alive = value and at - now <= was_span + {CLOCK_SLACK}
        if kind == 2 then
            used = held[span]
            new_at, new_used = 0, used + share
            fits = new_used <= room
        elseif kind == 1 then
            local backlog = 0
            if alive and at > now then
                backlog = at - now
                if was_span ~= span then backlog = math.min(span, math.floor(backlog * span / was_span) + 1) end
            end
            new_at, new_used = now + backlog + share, 0
            fits = backlog + share <= room
        else
            local begins = now - now % span
            new_at, new_used = begins + span, share
            if alive and at > begins then
                new_used = used + share
                if was_span == span then new_at = at end
            end
            fits = new_used <= room
        end
        after[i] = fits and share > 0 and {{new_at, span, new_used, kind}}
        if not fits and not observe then allowed = 0 end
        answer[filled + 1], answer[filled + 2], answer[filled + 3], answer[filled + 4] = fits and 1 or 0, at, was_span, used
        filled = filled + 4
    end
    answer[verdict] = allowed
    if allowed == 1 and asked[1] == 1 then
        for i = 1, count do
            local new = after[i]
            if new then
                if new[4] == 2 then
                    held[new[2]] = new[3]
                else
                    local text = string.format('%.0f %.0f %.0f', new[1], new[2], new[3])
                    redis.call('SET', KEYS[budget + i], text, 'PX', string.format('%.0f', math.ceil((new[1] - now) / 1000) + 1000))
                end
                local row = verdict + 4 * i - 2
                answer[row], answer[row + 1], answer[row + 2] = new[1], new[2], new[3]
            end
        end
    end
    budget = budget + count
end
for i, number in ipairs(answer) do answer[i] = string.format('%.0f', number) end
return table.concat(answer, ' ')
"""
SCRIPT_ID = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisStore(Store):
    """Counters of short windows. Lasting budgets need a durable store beside it: see SplitStore."""

    name = "redis"

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        self._url = url
        self._timeout = timeout
        self._local = threading.local()

    def hit_many(
        self, charges: Sequence[Charge], *, clock: int | None = None, held: Held | None = None
    ) -> list[Reading]:
        """held: the counters of the lasting budgets. They're charged in it; the caller must write them."""
        return self._read(charges, clock, held or Held({}, 0), charge=True)

    def peek(self, budgets: Sequence[Budget], cost: int = 1, *, clock: int | None = None) -> Reading:
        return self._read([Charge(budgets, cost)], clock, Held({}, 0), charge=False)[0]

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

    def close(self) -> None:
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.disconnect()
        vars(self._local).clear()

    def _read(self, charges: Sequence[Charge], clock: int | None, held: Held, *, charge: bool) -> list[Reading]:
        keys = [PREFIX + budget.counter_key for budgets, _ in charges for budget in budgets]
        standing = held_counters(charges, held)
        places = {key: place for place, key in enumerate(standing, start=1)}
        values = [int(charge), clock or 0, len(standing), *(counter.used for counter in standing.values())]
        for budgets, cost in charges:
            values.append(len(budgets))
            for budget in budgets:
                values += terms(budget, cost, places.get(budget.counter_key, 0))
        answer = [int(number) for number in self._run_script(len(keys), *keys, " ".join(map(str, values))).split()]
        after = dict(standing)
        readings = parse_answer(charges, answer, after)
        held.counters.update({key: counter for key, counter in after.items() if counter != standing[key]})
        return readings

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
            # No commands before ours: any of them could hang.
            protocol=2,
            driver_info=None,
        )
        self._local.connection = pool.make_connection()
        self._local.pid = os.getpid()
        return self._local.connection, True


def terms(budget: Budget, cost: int, held_place: int) -> tuple[int, int, int, int, int]:
    """Share, room, span, kind, observe."""
    share, observe = budget.share(cost), int(budget.observe)
    if held_place:
        return share, budget.limit, held_place, HELD, observe
    if budget.is_rolling:
        span = budget.limit * budget.step
        return share, span, span, ROLLING, observe
    return share, budget.limit, budget.period * SECOND, FIXED, observe


def held_counters(charges: Sequence[Charge], held: Held) -> dict[str, Counter]:
    """The counters of the lasting budgets, as they stand in the window that is running."""
    return {
        budget.counter_key: current(budget, held.counters.get(budget.counter_key), held.now)
        for budgets, _ in charges
        for budget in budgets
        if budget.is_lasting
    }


def parse_answer(charges: Sequence[Charge], answer: Sequence[int], held: dict[str, Counter]) -> list[Reading]:
    """What the script answered; brings the counters in `held` up to date."""
    now, place, readings = answer[0], 1, []
    for budgets, _ in charges:
        end = place + 1 + 4 * len(budgets)
        rows = [answer[start : start + 4] for start in range(place + 1, end, 4)]
        counters = []
        for budget, (_, at, span, used) in zip(budgets, rows, strict=True):
            if budget.is_lasting:
                key = budget.counter_key
                held[key] = held[key]._replace(used=used)
                counters.append(held[key] if used else None)
            else:
                counters.append(Counter(at, span, used) if at else None)
        readings.append(Reading(bool(answer[place]), now, tuple(bool(row[0]) for row in rows), tuple(counters)))
        place = end
    return readings
