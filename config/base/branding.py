"""The name, logo and accent color of this installation, from its settings."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from django.core.exceptions import ValidationError

from config.base.validators import validate_name

MAX_NAME_LENGTH = 40
MAX_LOGO_SIZE = 100_000
LOGO_TYPES = {
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
}
COLOR = re.compile(r"#[0-9a-fA-F]{6}")
# WCAG 2.2, success criterion 1.4.3 (AA), for text; and what makes a button stand out from the background in dark mode.
READABLE, VISIBLE = 4.5, 2.0
BLACK, WHITE = (0, 0, 0), (255, 255, 255)
DARK = (23, 24, 29)
# `--raised` of gatehouse.css: the darkest background in the light theme, and the lightest in the dark one.
RAISED, DARK_RAISED = (243, 243, 247), (31, 32, 39)
LINEAR_UNTIL = 0.04045
STEPS = 100

Color = tuple[int, ...]


class Logo(NamedTuple):
    content: bytes
    content_type: str
    version: str


def name_problem(name: str) -> str:
    """Why it can't be the name: it's in titles, subjects of emails, and authenticator apps, where a colon ends it."""
    try:
        validate_name(name)
    except ValidationError as error:
        return " ".join(error.messages)
    if not name.strip() or len(name) > MAX_NAME_LENGTH or ":" in name:
        return f"Use 1 to {MAX_NAME_LENGTH} characters, and no colon."
    return ""


def logo_problem(path: str) -> str:
    if not path:
        return ""
    if Path(path).suffix.lower() not in LOGO_TYPES:
        return f"Use a file that ends in {', '.join(LOGO_TYPES)}."
    try:
        size = len(Path(path).read_bytes())
    except OSError as error:
        return f"It can't be read: {error.strerror}."
    return "" if 0 < size <= MAX_LOGO_SIZE else f"Use a file of up to {MAX_LOGO_SIZE // 1000} kB that isn't empty."


def color_problem(text: str) -> str:
    if not text:
        return ""
    if not COLOR.fullmatch(text):
        return "Use # and six hexadecimal digits, such as #4f46e5."
    found = contrast(parsed(text), WHITE)
    if found >= READABLE:
        return ""
    return f"White text on it has a contrast of only {found:.1f}:1. Choose a darker color, with {READABLE}:1 or more."


@lru_cache(maxsize=1)
def logo(path: str) -> Logo | None:
    """None without a path, or if the file is gone."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return None
    return Logo(content, LOGO_TYPES[Path(path).suffix.lower()], hashlib.sha256(content).hexdigest()[:12])


@lru_cache(maxsize=1)
def accent_css(text: str) -> str:
    """The variables of gatehouse.css that depend on the accent color. Text in it is readable on all backgrounds, in both themes."""
    accent = parsed(text)
    soft, dark_soft = mixed(accent, WHITE, 0.91), mixed(accent, DARK, 0.78)
    link = first(accent, BLACK, lambda color: stands_out(color, soft, RAISED))
    dark_link = first(accent, WHITE, lambda color: stands_out(color, dark_soft, DARK_RAISED))
    fill = first(accent, WHITE, lambda color: contrast(color, DARK) >= VISIBLE)
    pairs = {
        "indigo": (link, dark_link),
        "indigo-strong": (mixed(link, BLACK, 0.15), mixed(dark_link, WHITE, 0.35)),
        "indigo-fill": (accent, fill),
        "indigo-fill-hover": (mixed(accent, BLACK, 0.15), mixed(fill, BLACK, 0.15)),
        "indigo-soft": (soft, dark_soft),
    }
    lines = (f"  --{name}: light-dark({written(light)}, {written(dark)});" for name, (light, dark) in pairs.items())
    return "\n".join((":root {", *lines, "}", ""))


def first(color: Color, towards: Color, fits: Callable[[Color], bool]) -> Color:
    """The color, or the first mixture with another one that fits."""
    mixtures = (mixed(color, towards, step / STEPS) for step in range(STEPS + 1))
    return next(filter(fits, mixtures), towards)


def stands_out(color: Color, *grounds: Color) -> bool:
    return all(contrast(color, ground) >= READABLE for ground in grounds)


def parsed(text: str) -> Color:
    return tuple(bytes.fromhex(text[1:]))


def written(color: Color) -> str:
    return f"#{bytes(color).hex()}"


def mixed(color: Color, other: Color, share: float) -> Color:
    return tuple(round(own + (its - own) * share) for own, its in zip(color, other, strict=True))


def contrast(color: Color, other: Color) -> float:
    """WCAG 2.2, “contrast ratio”: from 1 to 21."""
    darker, lighter = sorted((luminance(color), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(color: Color) -> float:
    red, green, blue = (linear(part / 255) for part in color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def linear(part: float) -> float:
    return part / 12.92 if part <= LINEAR_UNTIL else ((part + 0.055) / 1.055) ** 2.4
