"""Paths and patterns: the canonical form of a request path, and the pattern that wins for it.

A pattern consists of segments: literals, `{name}` for any one segment, and a final `*` for "this and everything below".
Rate limits and key permissions both use this.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar
from unicodedata import normalize
from urllib.parse import quote, unquote_to_bytes

from config.base.hosts import host_matches, host_specificity
from config.base.patterns import is_parameter, pattern_segments

T = TypeVar("T")
Audience = tuple[str, str]  # method and host
ANY_HOST = ("",)

# A method is any token (RFC 9110, sections 5.6.2 and 9.1). The longest registered one has 17 characters.
MAX_METHOD_LENGTH = 32
METHOD = rf"[!#$%&'*+.^_`|~0-9A-Za-z-]{{1,{MAX_METHOD_LENGTH}}}"
# A path and its query as in RFC 3986 (sections 3.3 and 3.4), without path parameters. Two differences: characters outside
# ASCII stand for their escapes, and a query may contain what browsers don't encode, because nothing depends on it.
TARGET = re.compile(
    r"""(/[^\x00-\x20"#;<>?\[\\\]^`{|}\x7f-\x9f\ud800-\udfff]*)(?:\?[^\x00-\x20#\x7f-\x9f\ud800-\udfff]*)?"""
)
FAULTS = (
    (re.compile(r"[^/]|\Z"), "The path doesn't start with a slash."),
    (re.compile(r"[^#]*#"), "The path has a fragment (#). Encode the # as %23."),
    (re.compile(r"[^?]*;"), "The path has a path parameter (;), which servers read differently."),
    (re.compile(r"[^?]*\\"), "The path has a backslash."),
    (re.compile(r".*[\x00-\x1f\x7f-\x9f]", re.DOTALL), "The path or its query has a control character."),
    (re.compile(r".*[\ud800-\udfff]"), "The path or its query is not valid UTF-8."),
)
UNENCODED = "The path or its query has a character that must be percent-encoded, such as a space."
BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
# Escapes that remain after decoding once, and that become a dot, a slash, a backslash, a semicolon or a control character
# on an upstream that decodes again.
ENCODED_AGAIN = re.compile(r"%(?:25)*(?:2e|2f|3b|5c|7f|[01][0-9a-f])", re.IGNORECASE)
ENCODED_DELIMITER = re.compile(r"%(?:2f|3b|5c)", re.IGNORECASE)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
DELIMITERS = re.compile(r"[/\\;?#%]")
# Slashes and backslashes that NFKC keeps but best-fit mappings to legacy encodings don't, and invisible characters: soft
# hyphen, zero-width space, direction marks and overrides, line separators, byte order mark. Persian and emoji need the
# joiners U+200C and U+200D.
DISGUISED = re.compile(
    "[\u2044\u2215\u2216\u29f5\u29f8\u29f9\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
DOT_SEGMENT = re.compile(r"/\.{1,2}(?:/|\Z)")
SLASHES = re.compile(r"/{2,}")


class AmbiguousPath(ValueError):
    """Servers would disagree about what this path means; the message says why."""


def canonical_path(raw: str) -> str:
    """The canonical path of a raw request target: `/ab/c` for `/a%62//c/?x=1`.

    raw: the target as the client sent it, still percent-encoded; characters outside ASCII stand for their UTF-8 bytes.
    Raises AmbiguousPath for anything that is not a request target (RFC 9112, section 3.2.1) or that servers understand
    differently.
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
    return next((fault for pattern, fault in FAULTS if pattern.match(raw)), UNENCODED)


def decode_once(path: str) -> str:
    if ENCODED_DELIMITER.search(path):
        raise AmbiguousPath("The path has an encoded slash, backslash or semicolon.")
    if BROKEN_ESCAPE.search(path):
        raise AmbiguousPath("The path has a percent sign that isn't followed by two hexadecimal digits.")
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeError:
        raise AmbiguousPath("The path is not valid UTF-8.") from None
    if CONTROL.search(decoded):
        raise AmbiguousPath("The path has a control character.")
    if "%" in decoded and ENCODED_AGAIN.search(decoded):
        raise AmbiguousPath("The path is encoded twice.")
    if not decoded.isascii():
        reject_lookalikes(decoded)
    return decoded


def reject_lookalikes(path: str) -> None:
    if DISGUISED.search(path):
        raise AmbiguousPath("The path has an invisible character, or one that looks like a slash or a backslash.")
    folded = normalize("NFKC", path)
    if DELIMITERS.findall(folded) != DELIMITERS.findall(path) or DOT_SEGMENT.search(folded):
        raise AmbiguousPath("The path has a character that some servers treat as a slash, a dot or another delimiter.")


def target_from_header(value: str) -> str:
    """A raw request target from a WSGI header, whose characters are the bytes that were sent (Latin-1)."""
    return quote(value.encode("latin-1"), safe=bytes(range(0x80)))


def counted_method(method: str) -> str:
    return "GET" if method == "HEAD" else method


def requests_in_words(method: str, pattern: str, host: str = "") -> str:
    """What a rate limit or another rule counts: “GET /orders”, “/orders/* on api.example.com” with any method."""
    where = f" on {host}" if host else ""
    return f"{method} {pattern}{where}".strip()


def normal_pattern(text: str) -> str:
    return text.removesuffix("/") or "/"


def pattern_shape(pattern: str) -> str:
    """The pattern without its {names}: patterns of the same shape match the same paths."""
    return "/" + "/".join("{}" if is_parameter(segment) else segment for segment in pattern_segments(pattern))


def pattern_matches(pattern: str, path: str) -> bool:
    """Whether a pattern matches a canonical path. For many patterns, use PatternTrie."""
    wanted, given = pattern_segments(pattern), pattern_segments(path)
    if wanted and wanted[-1] == "*":
        wanted.pop()
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(
        want == have or is_parameter(want) for want, have in zip(wanted, given, strict=True)
    )


# If several patterns match a request, the one with the lowest rank wins.
Rank = tuple[tuple[int, ...], bool, int]


class Match(NamedTuple, Generic[T]):
    """A matching pattern, and all values that were added for it, its method and its host."""

    method: str
    pattern: str
    host: str
    rank: Rank
    values: tuple[T, ...]

    @property
    def in_words(self) -> str:
        return requests_in_words(self.method, self.pattern, self.host)


def rank_of(pattern: str, method: str, host: str) -> Rank:
    """Segment by segment, a literal before {name} before `*`; then a named method, then a more specific host."""
    kinds = tuple(2 if segment == "*" else int(is_parameter(segment)) for segment in pattern_segments(pattern))
    return kinds, not method, -host_specificity(host)


class TrieNode(Generic[T]):
    """A segment of all patterns with the same beginning. `ends` and `stars` map (method, host), empty for any, to a match."""

    __slots__ = ("ends", "literals", "parameter", "stars")

    def __init__(self) -> None:
        self.literals: dict[str, TrieNode[T]] = {}
        self.parameter: TrieNode[T] | None = None
        self.ends: dict[Audience, Match[T]] = {}
        self.stars: dict[Audience, Match[T]] = {}

    def child(self, segment: str) -> TrieNode[T]:
        if not is_parameter(segment):
            return self.literals.setdefault(segment, TrieNode())
        if self.parameter is None:
            self.parameter = TrieNode()
        return self.parameter


class PatternTrie(Generic[T]):
    """Patterns compiled so that the cost of a match depends on the segments of the path, not on the number of patterns."""

    def __init__(self) -> None:
        self.root: TrieNode[T] = TrieNode()
        # The most specific patterns first.
        self.hosts: list[str] = []

    def add(self, pattern: str, value: T, method: str = "", host: str = "") -> None:
        node, segments = self.root, pattern_segments(pattern)
        starred = bool(segments) and segments[-1] == "*"
        for segment in segments[:-1] if starred else segments:
            node = node.child(segment)
        table = node.stars if starred else node.ends
        known = table.get((method, host))
        if known is None:
            table[method, host] = Match(method, pattern, host, rank_of(pattern, method, host), (value,))
        else:
            table[method, host] = known._replace(values=(*known.values, value))
        if host and host not in self.hosts:
            self.hosts.append(host)
            self.hosts.sort(key=host_specificity, reverse=True)

    def match(self, path: str, method: str = "", host: str = "") -> Match[T] | None:
        return next(self.candidates(path, method, host), None)

    def candidates(self, path: str, method: str = "", host: str = "") -> Iterator[Match[T]]:
        """All patterns that match, the winner first: see `rank_of`."""
        hosts = (*(name for name in self.hosts if host_matches(name, host)), "") if self.hosts else ANY_HOST
        return self._walk(self.root, pattern_segments(path), 0, audiences_of(counted_method(method), hosts))

    def _walk(
        self, node: TrieNode[T], segments: list[str], depth: int, audiences: tuple[Audience, ...]
    ) -> Iterator[Match[T]]:
        if depth == len(segments):
            yield from matches_in(node.ends, audiences)
        else:
            literal = node.literals.get(segments[depth])
            if literal is not None:
                yield from self._walk(literal, segments, depth + 1, audiences)
            if node.parameter is not None:
                yield from self._walk(node.parameter, segments, depth + 1, audiences)
        yield from matches_in(node.stars, audiences)


@lru_cache(maxsize=256)
def audiences_of(method: str, hosts: tuple[str, ...]) -> tuple[Audience, ...]:
    """Methods and hosts of the rules that a request may match, the most specific first."""
    return tuple((name, host) for name in ((method, "") if method else ("",)) for host in hosts)


def matches_in(table: dict[Audience, Match[T]], audiences: tuple[Audience, ...]) -> Iterator[Match[T]]:
    for audience in audiences:
        if audience in table:
            yield table[audience]
