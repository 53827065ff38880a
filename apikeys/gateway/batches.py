"""Decide all waiting requests as one batch. While a thread decides it, the next batch fills up.

There is no timer: a request that finds the thread idle is decided immediately, alone or with those that arrived in the same turn
of the event loop. A batch looks up its keys after all of its requests have arrived, so each sees every earlier change.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from apikeys.decision.checks import Facts
from apikeys.decision.decide import Verdict, decide_at_once, failed, is_anonymous, may_be_imported
from apikeys.decision.imported import take_over_and_release
from apikeys.gateway import observed
from config.base.database import release_connection
from config.base.metrics import QUEUE_DEPTH

BATCHES_AT_ONCE = 1
LARGEST_BATCH = 128
# With more, requests would wait longer than any gateway does.
MOST_WAITING = 2_000
# For imported keys whose hash is slow to check, one at a time in a separate thread.
MOST_SLOW_HASHES_WAITING = 8


class QueueFullError(Exception):
    """Too many requests are waiting already."""


class ClientGoneError(Exception):
    """The client went away before its request was decided."""


class Ticket(NamedTuple):
    facts: Facts
    verdict: asyncio.Future[Verdict]
    is_gone: Callable[[], bool]
    gateway: str
    arrived: float


class BatchQueue:
    """The requests of one event loop that wait for their verdict, first come, first served."""

    def __init__(self) -> None:
        self._waiting: deque[Ticket] = deque()
        self._running = 0
        self._slow_hashes = 0
        self.threads = ThreadPoolExecutor(BATCHES_AT_ONCE, thread_name_prefix="decisions")
        self.slow_thread = ThreadPoolExecutor(1, thread_name_prefix="slow-hashes")

    async def decide(self, facts: Facts, is_gone: Callable[[], bool], gateway: str) -> Verdict:
        """The verdict on `facts`. is_gone: tells whether the client has gone away, so that nothing is charged. gateway: who asks.

        Raises QueueFullError and ClientGoneError, with nothing charged.
        """
        if facts.credential.problem and not is_anonymous(facts):
            return observed.decide_now(facts, gateway)  # needs no database
        verdict = await self._decide_soon(facts, is_gone, gateway)
        if may_be_imported(facts, verdict):
            return await self._decide_imported(facts, is_gone, gateway, verdict)
        return verdict

    async def _decide_imported(
        self, facts: Facts, is_gone: Callable[[], bool], gateway: str, verdict: Verdict
    ) -> Verdict:
        if self._slow_hashes >= MOST_SLOW_HASHES_WAITING:
            raise QueueFullError
        self._slow_hashes += 1
        try:
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self.slow_thread, take_over_and_release, facts.credential.secret)
        except Exception as error:  # noqa: BLE001  (in the verdict, for the caller to tell)
            return failed(error)
        finally:
            self._slow_hashes -= 1
        return await self._decide_soon(facts, is_gone, gateway) if found else verdict

    async def _decide_soon(self, facts: Facts, is_gone: Callable[[], bool], gateway: str) -> Verdict:
        if len(self._waiting) >= MOST_WAITING:
            raise QueueFullError
        loop = asyncio.get_running_loop()
        ticket = Ticket(facts, loop.create_future(), is_gone, gateway, time.perf_counter())
        if not self._waiting:
            # At the end of this turn, so that requests that arrived together are decided together.
            loop.call_soon(self._start, loop)
        self._waiting.append(ticket)
        return await ticket.verdict

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting and self._running < BATCHES_AT_ONCE:
            QUEUE_DEPTH.set(len(self._waiting))
            batch = self._next_batch()
            if batch:
                self._running += 1
                self.threads.submit(self._decide, loop, batch)
        if not self._running:
            QUEUE_DEPTH.set(0)

    def _next_batch(self) -> list[Ticket]:
        batch: list[Ticket] = []
        while self._waiting and len(batch) < LARGEST_BATCH:
            ticket = self._waiting.popleft()
            if ticket.is_gone():
                ticket.verdict.set_exception(ClientGoneError())
            else:
                batch.append(ticket)
        return batch

    def _decide(self, loop: asyncio.AbstractEventLoop, batch: list[Ticket]) -> None:
        """Runs in the thread."""
        verdicts = decide_at_once([ticket.facts for ticket in batch])
        try:
            observe(batch, verdicts)
        finally:
            loop.call_soon_threadsafe(self._finish, loop, batch, verdicts)
        release_connection()

    def _finish(self, loop: asyncio.AbstractEventLoop, batch: list[Ticket], verdicts: list[Verdict]) -> None:
        self._running -= 1
        for ticket, verdict in zip(batch, verdicts, strict=True):
            if not ticket.verdict.done():  # its task may have been cancelled
                ticket.verdict.set_result(verdict)
        self._start(loop)


def observe(batch: list[Ticket], verdicts: list[Verdict]) -> None:
    now = time.perf_counter()
    decided = [(ticket.gateway, verdict) for ticket, verdict in zip(batch, verdicts, strict=True)]
    observed.observe(decided, [now - ticket.arrived for ticket in batch])
