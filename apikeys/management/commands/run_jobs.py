from __future__ import annotations

import os
import signal
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError

from apikeys.jobs.runner import run_due
from apikeys.models import Job
from config.base.database import drop_connection, release_connection

# Seconds between two looks for jobs that are due.
POLL_SECONDS = 5


class Command(BaseCommand):
    help = (
        "Run the regular jobs when they're due, until stopped with SIGTERM or Ctrl-C. If several machines run this, each job "
        "still runs on one of them at a time."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="Run the jobs that are due now, and exit. For cron.")
        parser.add_argument("--parent", type=int, help="Exit when the process with this id is no longer the parent.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["once"]:
            failed = [job.name for job in self.run_due() if not job.is_ok]
            if failed:
                raise CommandError(f"These jobs failed: {', '.join(failed)}.")
            return
        before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self.loop(options["parent"])
        except KeyboardInterrupt:
            self.stdout.write("Stopped running jobs.")
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def loop(self, parent: int | None) -> None:
        while parent is None or os.getppid() == parent:
            try:
                self.run_due()
            except (DatabaseError, InterfaceError) as error:
                self.stderr.write(f"Jobs have to wait for the database: {error}")
                drop_connection()
            release_connection()
            time.sleep(POLL_SECONDS)

    def run_due(self) -> list[Job]:
        done = run_due()
        for job in done:
            self.stdout.write(f"{job.name}: {job.output if job.is_ok else 'failed. ' + job.output}")
        return done


def interrupt(number: int, frame: Any) -> None:
    """SIGTERM stops a job as Ctrl-C does: every job can be stopped and run again."""
    raise KeyboardInterrupt
