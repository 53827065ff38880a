"""Rules for text that every model shares."""

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
# Format characters that are printed: Arabic, Syriac and Kaithi number signs (Unicode: Prepended_Concatenation_Mark).
PRINTED_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
# What people may type into a text of several lines beside what they see.
LINE_CHARACTERS = frozenset("\t\n\r")
# Code points that Unicode promises never to give a meaning.
NONCHARACTERS = frozenset(
    map(
        chr,
        (*range(0xFDD0, 0xFDF0), *(plane + last for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))),
    )
)
NAMED = {"\t": "tab", "\n": "line break", "\r": "line break"}
# Longer than any text that is stored; the rule for the length refuses the others, which are not worth reading to the end.
MAX_CHECKED = 1000
FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def validate_encodable(value: str) -> None:
    """Refuse lone surrogates, which no database and no page can hold, and NUL, which PostgreSQL cannot store.

    Form fields refuse NUL by themselves; commands and other code have only the model's rules.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValidationError("This text has a broken character. Type it anew.", code="broken_unicode") from None
    if "\0" in value:
        raise ValidationError("This text has a NUL character. Type it anew.", code="null_characters_not_allowed")


def validate_name(value: str) -> None:
    """Refuse what has no place in a name: control, bidirectional and other invisible characters, or nothing to see.

    Zero-width joiners and non-joiners may stand where scripts and emoji need them: between visible characters.
    """
    validate_characters(value)
    if not any(map(is_visible, value)):
        raise ValidationError("Enter at least one visible character.", code="invisible")


def validate_text(value: str) -> None:
    """As `validate_name`, for text of several lines, which may be empty."""
    validate_characters(value, allowed=LINE_CHARACTERS)


def validate_no_secrets(value: str) -> None:
    """Refuse an API key that somebody pasted: names and remarks are shown, exported and kept in the history."""
    if without_secrets(value) != value:
        raise ValidationError("This contains an API key. Remove it: others can read this text.", code="secret")


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
    """Whether a joiner has its place between these characters ("" where the text begins or ends)."""
    if before == "" or not (is_visible(before) or before in VARIATION_SELECTORS):
        return False
    return unicodedata.combining(before) == VIRAMA or (after != "" and is_visible(after))
