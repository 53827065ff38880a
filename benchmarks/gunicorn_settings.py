"""gunicorn's settings for benchmarks: config/gunicorn.py with two workers, without the check of settings for production."""

from __future__ import annotations

from config.gunicorn import *  # noqa: F403

workers = 2
drain_seconds = 0
loglevel = "warning"


def on_starting(server: object) -> None:
    pass
