"""Garbage collection stops all threads of a worker, so it skips what was loaded before the worker serves."""

from __future__ import annotations

import subprocess
import sys

from config.settings import BASE_DIR

START = """
import gc, sys
import config.asgi
from config.gunicorn import post_worker_init
post_worker_init(None)
print(len(gc.get_objects()), "config.urls" in sys.modules)
"""


def test_a_worker_keeps_the_loaded_application_out_of_garbage_collection():
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START], cwd=BASE_DIR, capture_output=True, text=True, check=True
    ).stdout
    objects, pages_are_loaded = printed.split()
    assert int(objects) < 1_000
    assert pages_are_loaded == "True"
