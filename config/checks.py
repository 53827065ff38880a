"""System checks: what must hold before Gatehouse may start, or go into production. Each says what to set."""

from __future__ import annotations
