"""Advice about a rate limit among the others of its tier: that it can never apply, or that it takes over requests.

A pattern wins for some path if it wins for one made of its own literals and, for everything it leaves open, segments that
are in no pattern. Any other path only adds more specific matches.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from config.base.patterns import is_parameter, pattern_segments
from ratelimits.matching import PatternTrie, pattern_shape, requests_in_words

# No pattern can contain it, so it matches only {name} and *.
UNKNOWN_SEGMENT = "\x00"
COUNTED_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

MethodPattern = tuple[str, str]  # method (empty: any) and pattern


def sample_paths(pattern: str, deepest: int) -> Iterator[str]:
    """Paths that the pattern matches and few others do; for `*`, of every length up to one beyond the deepest pattern."""
    segments = [UNKNOWN_SEGMENT if is_parameter(segment) else segment for segment in pattern_segments(pattern)]
    if not segments or segments[-1] != "*":
        yield "/" + "/".join(segments)
        return
    fixed = segments[:-1]
    for more in range(deepest - len(fixed) + 2):
        yield "/" + "/".join(fixed + [UNKNOWN_SEGMENT] * more)


def compiled(rules: Iterable[MethodPattern]) -> PatternTrie[MethodPattern]:
    trie: PatternTrie[MethodPattern] = PatternTrie()
    for method, pattern in rules:
        trie.add(pattern, (method, pattern), method)
    return trie


def winners(
    rule: MethodPattern, others: Collection[MethodPattern], trie: PatternTrie[MethodPattern]
) -> Iterator[MethodPattern | None]:
    """The winner in `trie`, or None, for each kind of request that `rule` matches."""
    method, pattern = rule
    deepest = max(len(pattern_segments(path)) for _, path in [rule, *others])
    for path in sample_paths(pattern, deepest):
        for name in [method] if method else COUNTED_METHODS:
            match = trie.match(path, name)
            yield (match.method, match.pattern) if match else None


def never_wins(rule: MethodPattern, others: Collection[MethodPattern]) -> list[str]:
    """The more specific rules, in words, that together win every request `rule` matches; empty if it wins some."""
    method, shape = rule[0], pattern_shape(rule[1])
    found = dict.fromkeys(winners(rule, others, compiled([rule, *others])))
    if any(winner and winner[0] == method and pattern_shape(winner[1]) == shape for winner in found):
        return []
    return [requests_in_words(*winner) for winner in found if winner]


def takes_over_from(rule: MethodPattern, others: Collection[MethodPattern]) -> dict[str, bool]:
    """The rules, in words, that lose requests to `rule`, with whether they lose all of them."""
    found = dict.fromkeys(winners(rule, others, compiled(others)))
    shape = pattern_shape(rule[1])
    losers = [loser for loser in found if loser and not (loser[0] == rule[0] and pattern_shape(loser[1]) == shape)]
    return {
        requests_in_words(*loser): bool(never_wins(loser, [rule, *(other for other in others if other != loser)]))
        for loser in losers
    }
