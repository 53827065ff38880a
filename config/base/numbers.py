"""Numbers in settings, also for processes that haven't loaded Django."""

from __future__ import annotations


def whole_number(name: str, value: str | float, smallest: int, largest: int) -> int:
    """Raises ValueError with a sentence about the setting `name`."""
    try:
        number = int(value)
    except ValueError:
        raise ValueError(f"{name} must be a whole number, but is “{value}”.") from None
    return int(within(name, number, smallest, largest))


def seconds(name: str, value: str | float, longest: int) -> float:
    """Like `whole_number`, but from 0 to `longest`, and fractions are allowed."""
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f"{name} must be a number of seconds, but is “{value}”.") from None
    return within(name, number, 0, longest)


def within(name: str, number: float, smallest: int, largest: int) -> float:
    # Also refuses nan.
    if not smallest <= number <= largest:
        raise ValueError(f"{name} must be from {smallest:,} to {largest:,}, but is {number:,}.")
    return number
