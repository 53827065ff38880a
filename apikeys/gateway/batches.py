"""Decide all waiting requests as one batch. While a thread decides it, the next batch fills up.

There is no timer. A batch begins once the event loop has written the last batch's answers and read what clients sent next, which takes
a few turns. Otherwise, clients that were just answered would always miss the next batch, and more, smaller batches cost more. A
batch looks up its keys after all of its requests have arrived, so each sees every earlier change.
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

LARGEST_BATCH = 128
# A batch begins after this many turns in a row without a new request: one to write an answer, one to read the next request, and one
# for its task to ask.
QUIET_TURNS = 3
# Seconds after which it begins in any case. Threads that render pages can make a turn take milliseconds.
LONGEST_GATHERING = 0.005
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
        self._is_deciding = False
        self._is_gathering = False
        self._slow_hashes = 0
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="decisions")
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
        self._waiting.append(ticket)
        if not self._is_deciding:
            self._gather(loop)
        return await ticket.verdict

    def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._is_gathering:
            self._is_gathering = True
            loop.call_soon(self._start_once_quiet, loop, 0, 0, time.perf_counter() + LONGEST_GATHERING)

    def _start_once_quiet(self, loop: asyncio.AbstractEventLoop, known: int, quiet: int, deadline: float) -> None:
        waiting = len(self._waiting)
        quiet = quiet + 1 if waiting == known else 0
        if quiet < QUIET_TURNS and waiting < LARGEST_BATCH and time.perf_counter() < deadline:
            loop.call_soon(self._start_once_quiet, loop, waiting, quiet, deadline)
        else:
            self._is_gathering = False
            self._start(loop)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        QUEUE_DEPTH.set(len(self._waiting))
        if batch := self._next_batch():
            self._is_deciding = True
            self.thread.submit(self._decide, loop, batch)
        else:
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
        self._is_deciding = False
        for ticket, verdict in zip(batch, verdicts, strict=True):
            if not ticket.verdict.done():  # its task may have been cancelled
                ticket.verdict.set_result(verdict)
        self._gather(loop)


def observe(batch: list[Ticket], verdicts: list[Verdict]) -> None:
    now = time.perf_counter()
    decided = [(ticket.gateway, verdict) for ticket, verdict in zip(batch, verdicts, strict=True)]
    observed.observe(decided, [now - ticket.arrived for ticket in batch])
