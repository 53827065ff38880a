"""gunicorn's settings for benchmarks: the product's own with two workers, without its check of settings for production."""

from __future__ import annotations

from config.gunicorn import *  # noqa: F403

workers = 2
drain_seconds = 0
loglevel = "warning"


def on_starting(server: object) -> None:
    pass
