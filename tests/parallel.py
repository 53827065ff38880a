"""Run work at the same moment in real threads with real connections, on both databases."""

from __future__ import annotations

import threading

from django.db import connection


def in_parallel(count, work):
    """Run work(number) in `count` threads that start together; returns the results ordered by number."""
    results, barrier = [None] * count, threading.Barrier(count)

    def run(number):
        try:
            barrier.wait()
            results[number] = work(number)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
