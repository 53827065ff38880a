"""Run functions concurrently in threads with their own database connections."""

from __future__ import annotations

import threading

from django.db import connection


def in_parallel(count, work):
    """Run work(number) in `count` threads that start together. Return the results ordered by number."""
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
