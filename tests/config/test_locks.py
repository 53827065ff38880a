"""Packages in the lock files keep the extras that other packages need.

Without them, the pip that comes with Python 3.11 rejects the lock file as soon as the package has a newer release.
"""

from __future__ import annotations

from collections import defaultdict
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt")


def pinned(lock: str) -> dict[str, set[str]]:
    """The extras of each package in a lock file, by package name."""
    lines = [line.removesuffix("\\").strip() for line in lock.splitlines() if line[:1].isalnum()]
    requirements = map(Requirement, lines)
    return {canonicalize_name(requirement.name): set(requirement.extras) for requirement in requirements}


def wanted(pins: dict[str, set[str]]) -> dict[str, dict[str, str]]:
    """For each package, the extras that other installed packages require, with one of these packages."""
    required: dict[str, dict[str, str]] = defaultdict(dict)
    for distribution in distributions():
        dependent = distribution.metadata["Name"]
        chosen = {"", *pins.get(canonicalize_name(dependent), ())}
        for requirement in map(Requirement, distribution.requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in chosen):
                required[canonicalize_name(requirement.name)].update(dict.fromkeys(requirement.extras, dependent))
    return required


def missing_extras(pins: dict[str, set[str]]) -> list[str]:
    return [
        f"{name} is pinned without [{extra}], which {dependent} requires: run `make lock`."
        for name, extras in wanted(pins).items()
        for extra, dependent in extras.items()
        if name in pins and extra not in pins[name]
    ]


@pytest.mark.parametrize("name", LOCKS)
def test_every_required_extra_is_pinned(name):
    assert missing_extras(pinned((ROOT / name).read_text())) == []


@pytest.mark.parametrize("name", LOCKS)
def test_every_extra_of_the_in_file_is_pinned(name):
    source = (ROOT / name).with_suffix(".in").read_text()
    pins = pinned((ROOT / name).read_text())
    lines = [line for line in source.splitlines() if line[:1].isalnum()]
    for requirement in map(Requirement, lines):
        assert requirement.extras <= pins[canonicalize_name(requirement.name)], f"{requirement}: run `make lock`."


def test_a_missing_extra_is_found():
    lock = (ROOT / "requirements-dev.txt").read_text().replace("coverage[toml]", "coverage")

    (message,) = missing_extras(pinned(lock))

    assert message.startswith("coverage is pinned without [toml], which pytest-cov requires")
