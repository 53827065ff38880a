"""Validators for text."""

from __future__ import annotations

import re
import unicodedata

from django.core.exceptions import ValidationError

from config.base.logs import without_secrets
from config.base.text import FILLERS, VARIATION_SELECTORS, is_visible

ZWNJ, ZWJ = "\u200c", "\u200d"
VIRAMA = 9  # the canonical combining class of the sign that ends a consonant in Indic scripts
# The flags of England, Scotland and Wales: a black flag, tag characters, and the tag that ends them.
TAGGED_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e0039\U000e0061-\U000e007a]+\U000e007f")
# Visible format characters: Arabic, Syriac and Kaithi number signs (Unicode: Prepended_Concatenation_Mark).
PRINTED_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
LINE_CHARACTERS = frozenset("\t\n\r")
NONCHARACTERS = frozenset(
    map(
        chr,
        (*range(0xFDD0, 0xFDF0), *(plane + last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))),
    )
)
NAMED = {"\t": "tab", "\n": "line break", "\r": "line break"}
# Longer than any stored text; other validators reject what is longer.
MAX_CHECKED = 1000
FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def validate_encodable(value: str) -> None:
    """Reject lone surrogates, which can't be stored or shown, and NUL, which PostgreSQL can't store.

    Form fields reject NUL anyway, but commands have only the model's validators.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValidationError("This text has an invalid character. Type it again.", code="broken_unicode") from None
    if "\0" in value:
        raise ValidationError("This text has a NUL character. Type it again.", code="null_characters_not_allowed")


def is_encodable(value: str) -> bool:
    try:
        validate_encodable(value)
    except ValidationError:
        return False
    return True


def validate_name(value: str) -> None:
    """Reject control, bidirectional and other invisible characters, and names without a visible character.

    Some scripts and emoji need zero-width joiners and non-joiners between visible characters.
    """
    validate_characters(value)
    if not any(map(is_visible, value)):
        raise ValidationError("Enter at least one visible character.", code="invisible")


def validate_text(value: str) -> None:
    validate_characters(value, allowed=LINE_CHARACTERS)


def validate_no_secrets(value: str) -> None:
    """Reject pasted API keys, because names and notes are shown, exported and kept in the history."""
    if without_secrets(value) != value:
        raise ValidationError("Remove the API key. Other people can read this text.", code="secret")


def validate_characters(value: str, allowed: frozenset[str] = frozenset()) -> None:
    validate_encodable(value)
    validate_no_secrets(value[:MAX_CHECKED])
    text = TAGGED_FLAG.sub("x", value[:MAX_CHECKED])
    for position, character in enumerate(text):
        if character not in allowed and not is_fit_for_a_name(character, text, position):
            what = NAMED.get(character, f"control or invisible character U+{ord(character):04X}")
            raise ValidationError(f"Remove the {what}.", code="control_character")


def is_fit_for_a_name(character: str, text: str, position: int) -> bool:
    before, after = text[max(position - 1, 0) : position], text[position + 1 : position + 2]
    if character in VARIATION_SELECTORS:
        return before != "" and is_visible(before)
    if character in {ZWNJ, ZWJ}:
        return joins(before, after)
    if character in FILLERS or character in NONCHARACTERS:
        return False
    return unicodedata.category(character) not in FORBIDDEN_CATEGORIES or character in PRINTED_FORMATS


def joins(before: str, after: str) -> bool:
    if before == "" or not (is_visible(before) or before in VARIATION_SELECTORS):
        return False
    return unicodedata.combining(before) == VIRAMA or (after != "" and is_visible(after))
