"""Paths and patterns: which request path is meant, and which pattern on it wins.

A pattern is a list of segments: literal, `{name}` for any one segment, and a last `*` for "this and everything below".
Rate limits and key permissions use the same code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar
from unicodedata import normalize
from urllib.parse import quote, unquote_to_bytes

from django.core.exceptions import ValidationError

T = TypeVar("T")

LONGEST_PATTERN = 255
# A method is any token (RFC 9110, sections 5.6.2 and 9.1). The longest registered one has 17 characters.
LONGEST_METHOD = 32
METHOD = rf"[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{LONGEST_METHOD}}}"
PARAMETER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
LITERAL = re.compile(r"[A-Za-z0-9._~!$&'()+,=:@-]+")
# A path and its query, as RFC 3986 spells them (sections 3.3 and 3.4), without path parameters. Two things are wider: bytes
# beyond ASCII stand for their own escapes, and a query may hold what browsers leave bare in it, as it is not judged.
TARGET = re.compile(
    r"""(/[^\x00-\x20"#;<>?\[\\\]^`{|}\x7f-\x9f\ud800-\udfff]*)(?:\?[^\x00-\x20#\x7f-\x9f\ud800-\udfff]*)?"""
)
FAULTS = (
    (re.compile(r"[^/]|\Z"), "The path does not start with a slash."),
    (re.compile(r"[^#]*#"), "The path has a fragment (#). Encode the # as %23."),
    (re.compile(r"[^?]*;"), "The path has a path parameter (;), which servers read differently."),
    (re.compile(r"[^?]*\\"), "The path has a backslash."),
    (re.compile(r".*[\x00-\x1f\x7f-\x9f]", re.DOTALL), "The path or its query has a control character."),
    (re.compile(r".*[\ud800-\udfff]"), "The path or its query is not valid UTF-8."),
)
UNENCODED = "The path or its query has a character that must be percent-encoded, such as a space."
BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# What is an escape still after decoding once, and would become a dot, a slash, a backslash, a semicolon or a control
# character for an upstream that decodes twice (or thrice).
ENCODED_AGAIN = re.compile(r"%(?:25)*(?:2e|2f|3b|5c|7f|[01][0-9a-f])", re.IGNORECASE)
ENCODED_DELIMITER = re.compile(r"%(?:2f|3b|5c)", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
DELIMITERS = re.compile(r"[/\\;?#%]")
# Slashes and backslashes that NFKC keeps but best-fit mappings to legacy encodings don't, and characters that nobody sees:
# soft hyphen, zero-width space, direction marks and overrides, line separators, byte order mark. The joiners U+200C and
# U+200D are left out, as Persian and emoji are written with them.
DISGUISED = re.compile(
    "[\u2044\u2215\u2216\u29f5\u29f8\u29f9\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
DOT_SEGMENT = re.compile(r"/\.{1,2}(?:/|\Z)")
SLASHES = re.compile(r"/{2,}")


class AmbiguousPath(ValueError):
    """Upstreams would disagree about what this path means; the message says why. Such a request is refused."""


def canonical_path(raw: str) -> str:
    """The one form of the path in a raw request target such as `/a%62//c/?x=1`: here `/ab/c`.

    raw: the target as the client sent it, still percent-encoded; characters outside ASCII stand for their UTF-8 bytes.
    The result starts with a slash and ends in none (but for `/` itself); letter case is kept. Raises AmbiguousPath for
    all that is no request target (RFC 9112, section 3.2.1) or that upstreams read in different ways.
    """
    target = TARGET.fullmatch(raw)
    if target is None:
        raise AmbiguousPath(fault_of(raw))
    path = target[1]
    if "%" in path or not path.isascii():
        path = decode_once(path)
    if "/." in path and DOT_SEGMENT.search(path):
        raise AmbiguousPath("The path has a dot segment.")
    if "//" in path:
        path = SLASHES.sub("/", path)
    return path.removesuffix("/") or "/"


def fault_of(raw: str) -> str:
    """What makes `raw` no request target that we judge."""
    return next((fault for pattern, fault in FAULTS if pattern.match(raw)), UNENCODED)


def decode_once(path: str) -> str:
    if ENCODED_DELIMITER.search(path):
        raise AmbiguousPath("The path has an encoded slash, backslash or semicolon.")
    if BROKEN_ESCAPE.search(path):
        raise AmbiguousPath("The path has a percent sign that is not followed by two hexadecimal digits.")
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeError:
        raise AmbiguousPath("The path is not valid UTF-8.") from None
    if CONTROL.search(decoded):
        raise AmbiguousPath("The path has a control character.")
    if "%" in decoded and ENCODED_AGAIN.search(decoded):
        raise AmbiguousPath("The path is encoded twice.")
    if not decoded.isascii():
        refuse_lookalikes(decoded)
    return decoded


def refuse_lookalikes(path: str) -> None:
    """Refuse characters that are not what they look like, or that an upstream which normalizes text (NFKC) would take for
    delimiters.
    """
    if DISGUISED.search(path):
        raise AmbiguousPath("The path has an invisible character, or one that looks like a slash or a backslash.")
    folded = normalize("NFKC", path)
    if DELIMITERS.findall(folded) != DELIMITERS.findall(path) or DOT_SEGMENT.search(folded):
        raise AmbiguousPath("The path has a character that some servers read as a slash, a dot or another delimiter.")


def target_from_header(value: str) -> str:
    """A raw request target from a WSGI header, whose characters are the bytes that were sent (Latin-1)."""
    return quote(value.encode("latin-1"), safe=bytes(range(0x80)))


def counted_method(method: str) -> str:
    """The method that limits are looked up under: as sent, as methods are case-sensitive, but HEAD as GET."""
    return "GET" if method == "HEAD" else method


def validate_pattern(text: str) -> None:
    """Raise ValidationError, in words a person understands, unless `text` is a path pattern."""
    if len(text) > LONGEST_PATTERN:
        raise ValidationError(f"A path has at most {LONGEST_PATTERN} characters; this one has {len(text):,}.")
    if not text.startswith("/"):
        raise ValidationError("A path starts with a slash, for example /orders/{id} or /orders/*.")
    if "?" in text or "#" in text:
        raise ValidationError("A path has no query (?) and no fragment (#): limits look at the path alone.")
    if "//" in text:
        raise ValidationError(
            "Slashes stand alone: // is counted as / in requests, so a pattern with it never matches."
        )
    if ";" in text:
        raise ValidationError("A path has no semicolon: requests with path parameters (;) are refused.")
    segments = pattern_segments(text)
    for place, segment in enumerate(segments, start=1):
        validate_segment(segment, last=place == len(segments))
    names = [segment for segment in segments if is_parameter(segment)]
    for name in names:
        if names.count(name) > 1:
            raise ValidationError(f"{name} stands in this path twice. Give each part its own name.")


def validate_segment(segment: str, *, last: bool) -> None:
    if segment == "*" and last:
        return
    if "*" in segment:
        raise ValidationError(
            "A * stands alone as the last part, for example /orders/*. For one part in the middle use {name}."
        )
    if segment in {".", ".."}:
        raise ValidationError("A path has no . or .. parts: requests with them are refused.")
    if "{" in segment or "}" in segment:
        if not PARAMETER.fullmatch(segment):
            raise ValidationError(
                "A {name} fills a whole part between two slashes, and its name has letters, digits and _ only, "
                "for example /orders/{id}."
            )
    elif not LITERAL.fullmatch(segment):
        raise ValidationError(
            "A path has letters a to z, digits and - . _ ~ ! $ & ' ( ) + , = : @ only: no spaces, no percent signs, "
            "no accents. Use {name} for a part that has others."
        )


def normal_pattern(text: str) -> str:
    """`text` as it is stored: without a last slash, which requests may or may not have."""
    return text.removesuffix("/") or "/"


def pattern_segments(pattern: str) -> list[str]:
    stripped = pattern.strip("/")
    return stripped.split("/") if stripped else []


def is_parameter(segment: str) -> bool:
    return segment.startswith("{")


def pattern_shape(pattern: str) -> str:
    """The pattern with its {names} taken out: two patterns of one shape match the same paths."""
    return "/" + "/".join("{}" if is_parameter(segment) else segment for segment in pattern_segments(pattern))


def pattern_matches(pattern: str, path: str) -> bool:
    """Whether a valid pattern matches a canonical path; for one pattern, where a PatternTrie would not pay."""
    wanted, given = pattern_segments(pattern), pattern_segments(path)
    if wanted and wanted[-1] == "*":
        wanted.pop()
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(
        want == have or is_parameter(want) for want, have in zip(wanted, given, strict=True)
    )


class Match(NamedTuple, Generic[T]):
    """A pattern that matches, and all values that were added under it and its method."""

    method: str
    pattern: str
    values: tuple[T, ...]


class Node(Generic[T]):
    """One segment of all patterns that begin alike. `ends` and `stars` map a method (empty: any) to its match."""

    __slots__ = ("ends", "literals", "parameter", "stars")

    def __init__(self) -> None:
        self.literals: dict[str, Node[T]] = {}
        self.parameter: Node[T] | None = None
        self.ends: dict[str, Match[T]] = {}
        self.stars: dict[str, Match[T]] = {}

    def child(self, segment: str) -> Node[T]:
        if not is_parameter(segment):
            return self.literals.setdefault(segment, Node())
        if self.parameter is None:
            self.parameter = Node()
        return self.parameter


class PatternTrie(Generic[T]):
    """Many (method, pattern, value) compiled, so that a match costs the segments of the path, not the patterns."""

    def __init__(self) -> None:
        self.root: Node[T] = Node()

    def add(self, pattern: str, value: T, method: str = "") -> None:
        """Add a valid pattern. Values under one method and one shape of pattern stay together, in order."""
        node, segments = self.root, pattern_segments(pattern)
        starred = bool(segments) and segments[-1] == "*"
        for segment in segments[:-1] if starred else segments:
            node = node.child(segment)
        table = node.stars if starred else node.ends
        known = table.get(method)
        table[method] = Match(method, known.pattern if known else pattern, (*(known.values if known else ()), value))

    def match(self, path: str, method: str = "") -> Match[T] | None:
        """The most specific pattern that matches a canonical path and a method as sent."""
        return next(self.candidates(path, method), None)

    def candidates(self, path: str, method: str = "") -> Iterator[Match[T]]:
        """All patterns that match, the winner first: the order is literal, {name}, `*`, segment by segment from the left;
        within one pattern a named method comes before any.
        """
        return self._walk(self.root, pattern_segments(path), 0, counted_method(method))

    def _walk(self, node: Node[T], segments: list[str], depth: int, method: str) -> Iterator[Match[T]]:
        if depth == len(segments):
            yield from in_force(node.ends, method)
        else:
            literal = node.literals.get(segments[depth])
            if literal is not None:
                yield from self._walk(literal, segments, depth + 1, method)
            if node.parameter is not None:
                yield from self._walk(node.parameter, segments, depth + 1, method)
        yield from in_force(node.stars, method)


def in_force(table: dict[str, Match[T]], method: str) -> Iterator[Match[T]]:
    for name in (method, "") if method else ("",):
        if name in table:
            yield table[name]
