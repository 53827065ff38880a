"""Path patterns as people enter them: literal segments, `{name}` for any one segment, a final `*` for everything below.

ratelimits/matching.py compares them with the paths of requests.
"""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError

MAX_PATTERN_LENGTH = 255
PARAMETER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()+,=:@-]+")


def validate_pattern(text: str) -> None:
    if len(text) > MAX_PATTERN_LENGTH:
        raise ValidationError(f"Use at most {MAX_PATTERN_LENGTH} characters. This path has {len(text):,}.")
    if not text.startswith("/"):
        raise ValidationError("Start the path with a slash, for example /orders/{id} or /orders/*.")
    if "?" in text or "#" in text:
        raise ValidationError("Remove the query (?) or fragment (#). Only the path is matched.")
    if "//" in text:
        raise ValidationError("Use single slashes. In requests, // counts as /, so this pattern would never match.")
    if ";" in text:
        raise ValidationError("Remove the semicolon. Requests with path parameters (;) are denied.")
    segments = pattern_segments(text)
    for place, segment in enumerate(segments, start=1):
        validate_segment(segment, last=place == len(segments))
    names = [segment for segment in segments if is_parameter(segment)]
    for name in names:
        if names.count(name) > 1:
            raise ValidationError(f"{name} is used twice. Give each segment a different name.")


def validate_segment(segment: str, *, last: bool) -> None:
    if segment == "*" and last:
        return
    if "*" in segment:
        raise ValidationError(
            "Use * only as the last segment, for example /orders/*. Use {name} for a segment in the middle."
        )
    if segment in {".", ".."}:
        raise ValidationError("Remove the . or .. segment. Requests with them are denied.")
    if "{" in segment or "}" in segment:
        if not PARAMETER.fullmatch(segment):
            raise ValidationError(
                "Use {name} for a whole segment, with only letters, digits and underscores in the name, for example "
                "/orders/{id}."
            )
    elif not LITERAL.fullmatch(segment):
        raise ValidationError(
            "Use only unaccented letters, digits and - . _ ~ ! $ & ' ( ) + , = : @ in a path. Use {name} for a segment with "
            "other characters."
        )


def pattern_segments(pattern: str) -> list[str]:
    stripped = pattern.strip("/")
    return stripped.split("/") if stripped else []


def is_parameter(segment: str) -> bool:
    return segment.startswith("{")
