"""Which JSON can be stored in both databases and shown on every page."""

from __future__ import annotations

import json
import math
import re
from typing import Any

# Python's own limit is near 1,000 levels, and showing a value takes several calls per level.
MAX_DEPTH = 10
# NUL as the json module writes it: after an even number of backslashes.
UNSTORABLE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000|[\ud800-\udfff]")


def json_problem(value: Any, longest: int) -> str:
    """Why a parsed value can't be stored, as a predicate (“must …”); empty if it can. longest: characters as JSON."""
    if is_too_deep(value):
        return f"must be nested at most {MAX_DEPTH} levels deep."
    try:
        written = json.dumps(value, allow_nan=False, ensure_ascii=False)
        json.loads(written, parse_int=finite)
    except (TypeError, ValueError):
        return "must contain only strings, true, false, null and numbers in the range of a float."
    if len(written) > longest:
        return f"must have at most {longest:,} characters as JSON."
    if UNSTORABLE.search(written):
        return "must not contain NUL characters or lone surrogates."
    return ""


def is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for item in level for part in parts_of(item)]
    return any(isinstance(item, dict | list) for item in level)


def parts_of(item: Any) -> Any:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("out of range")
    return number
