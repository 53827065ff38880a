"""Numbers and times in words, normal forms of text, and visible characters."""

from __future__ import annotations

import unicodedata
from datetime import UTC, date, datetime, time, timedelta

from django.utils import timezone

MINUTE, HOUR, DAY = 60, 3600, 86_400
PERIODS = ((7 * DAY, "week"), (DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"), (1, "second"))
# Up to how many seconds a unit is used; beyond the last, the date is shown.
UNITS = ((45, 1, "second"), (45 * MINUTE, MINUTE, "minute"), (22 * HOUR, HOUR, "hour"), (45 * DAY, DAY, "day"))

# Control, surrogate and format characters, and spaces of any kind (Unicode general categories).
INVISIBLE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zs", "Zl", "Zp"})
VARIATION_SELECTORS = frozenset(
    map(chr, (*range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
)
# Invisible although they are letters, marks or symbols: the Hangul fillers, the empty Braille cell and others.
FILLERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
BLANKS = FILLERS | VARIATION_SELECTORS
MAX_QUOTE_LENGTH = 60


# What case folding leaves of the Turkish letters İ and ı.
TURKISH_I = (("i\u0307", "i"), ("ı", "i"))


def normal_form(text: str) -> str:
    """NFKC, case folded: one form for spellings that differ in case or compatibility characters."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def search_form(text: str) -> str:
    """`normal_form` without invisible characters, and with dotted and dotless i alike.

    Accents matter: "Zoe" doesn't find "Zoë".
    """
    form = "".join(character for character in normal_form(text) if character.isspace() or is_visible(character))
    for spelling, letter in TURKISH_I:
        form = form.replace(spelling, letter)
    return form


def is_visible(character: str) -> bool:
    return unicodedata.category(character) not in INVISIBLE_CATEGORIES and character not in BLANKS


class NotInEncoding(ValueError):
    """line: of the file, from 1."""

    def __init__(self, line: int) -> None:
        super().__init__(f"Line {line} isn't in this encoding.")
        self.line = line


def decode(content: bytes, encoding: str = "utf-8") -> str:
    """The text of a file. encoding: if it has no byte order mark. Raises NotInEncoding."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"  # Excel's “Unicode text”
    elif content.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise NotInEncoding(content.count(b"\n", 0, error.start) + 1) from None


def counted(number: int, noun: str, plural: str = "") -> str:
    """“1 user”, “3,000 users”. Give `plural` if it isn't the noun with an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def ago(moment: datetime, now: datetime | None = None) -> str:
    distance = (now or datetime.now(UTC)) - moment
    seconds = abs(distance.total_seconds())
    for longest, size, noun in UNITS:
        if seconds <= longest:
            return distance_in_words(round(seconds / size), size, noun, future=distance < timedelta(0))
    return f"{timezone.localtime(moment):%-d %b %Y}"


def distance_in_words(number: int, size: int, noun: str, *, future: bool) -> str:
    if size == 1:
        return "in a moment" if future else "just now"
    text = counted(max(number, 1), noun)
    return f"in {text}" if future else f"{text} ago"


def exact(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def local(moment: datetime) -> str:
    """The time in the time zone of the signed-in user."""
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S %Z}"


def local_minute(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M %Z}"


def local_to_millisecond(moment: datetime) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03}"


def start_of_day(day: date) -> datetime:
    """In the time zone of the signed-in user. The first and last days that Python supports don't exist in every zone."""
    possible = min(max(day, date(2, 1, 1)), date(9998, 12, 31))
    return datetime.combine(possible, time(), timezone.get_current_timezone())


def period_in_words(seconds: int) -> str:
    """What follows “per”: “minute” for 60, “5 minutes” for 300."""
    size, unit = next((size, unit) for size, unit in PERIODS if seconds % size == 0)
    number = seconds // size
    return unit if number == 1 else counted(number, unit)


def period_in_full(seconds: int) -> str:
    """“1 minute” for 60, “5 minutes” for 300."""
    words = period_in_words(seconds)
    return words if words[0].isdigit() else f"1 {words}"


def duration(seconds: int) -> str:
    """“45 seconds”, “30 minutes”: rounded up, in the largest unit of which there are two or more."""
    size, unit = next((size, unit) for size, unit in PERIODS if seconds >= 2 * size or size == 1)
    return counted(-(-seconds // size), unit)


def quoted(text: str) -> str:
    printable = "".join(character if character.isprintable() else "�" for character in text[: MAX_QUOTE_LENGTH + 1])
    return f"“{printable[:MAX_QUOTE_LENGTH]}{'…' if len(printable) > MAX_QUOTE_LENGTH else ''}”"
