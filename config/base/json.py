"""JSON that is kept: both databases can hold it, and every page can show it."""

from __future__ import annotations

import json
import math
import re
from typing import Any

# Enough for anything that people keep beside a key or a request. Python's own limit is near 1,000 levels, and a page that
# shows a value needs several calls for each of them.
DEEPEST = 10
# NUL as the json module writes it, and not as a text about it: after an even number of backslashes.
UNSTORABLE = re.compile(r"(?<!\\)(?:\\\\)*\\u0000|[\ud800-\udfff]")


def json_problem(value: Any, longest: int) -> str:
    """Why a parsed value can't be kept, as the rest of a sentence: “must …”; empty if it can. longest: characters as JSON."""
    if is_too_deep(value):
        return f"must not be nested more than {DEEPEST} levels deep."
    try:
        written = json.dumps(value, allow_nan=False, ensure_ascii=False)
        json.loads(written, parse_int=finite)
    except (TypeError, ValueError):
        return "must contain only texts, true, false, null and numbers that a float can hold."
    if len(written) > longest:
        return f"must have at most {longest:,} characters as JSON."
    if UNSTORABLE.search(written):
        return "must not contain NUL characters or halves of surrogate pairs."
    return ""


def is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [part for item in level for part in parts_of(item)]
    return any(isinstance(item, dict | list) for item in level)


def parts_of(item: Any) -> Any:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def finite(digits: str) -> float:
    """The whole number as a float. Raises ValueError if it is beyond what a float can hold."""
    number = float(digits)
    if math.isinf(number):
        raise ValueError("out of range")
    return number
