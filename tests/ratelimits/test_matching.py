from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from config.base.patterns import pattern_segments, validate_pattern
from ratelimits.matching import (
    AmbiguousPath,
    PatternTrie,
    canonical_path,
    normal_pattern,
    pattern_matches,
    pattern_shape,
    target_from_header,
)

# --- Paths ---


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/", "/"),
        ("//", "/"),
        ("/orders", "/orders"),
        ("/orders/", "/orders"),
        ("/orders//", "/orders"),
        ("//orders///5//", "/orders/5"),
        ("/orders?x=1", "/orders"),
        ("/orders/?next=/../%2f;x=1&[]|é", "/orders"),
        ("?x=1", None),
        ("/%6frders/%35", "/orders/5"),
        ("/caf%C3%a9", "/café"),
        ("/caf%c3%A9", "/café"),
        ("/café", "/café"),
        ("/Orders/ABC", "/Orders/ABC"),
        ("/a%20b", "/a b"),
        ("/a+b", "/a+b"),
        ("/100%25", "/100%"),
        ("/a%2541", "/a%41"),
        ("/a.b/..c/d../.well-known", "/a.b/..c/d../.well-known"),
        ("/.../x", "/.../x"),
        ("/a%23b%3Fc", "/a#b?c"),
        ("/!$&'()*+,=:@-._~", "/!$&'()*+,=:@-._~"),
        ("/%F0%9F%98%80", "/😀"),
        ("/a\u200cb\u200d", "/a\u200cb\u200d"),
    ],
)
def test_path_is_normalized(raw, path):
    if path is None:
        with pytest.raises(AmbiguousPath):
            canonical_path(raw)
    else:
        assert canonical_path(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "*",
        "orders",
        "http://example.com/orders",
        "/../x",
        "/info/../private",
        "/a/.",
        "/./a",
        "/a/..",
        "/%2e%2e/x",
        "/%2E./x",
        "/a/..;/b",
        "/a/.;x=1",
        "/a\\b",
        "/a%5Cb",
        "/a%2fb",
        "/a%2Fb/../c?x=1",
        "/a%252fb",
        "/%252e%252e/x",
        "/%25252e/x",
        "/a%2500",
        "/a%00b",
        "/a%0d%0aX: y",
        "/a%7f",
        "/a\x00",
        "/a\tb",
        "/a%C2%85",
        "/a%ff",
        "/a%c0%af",
        "/a%ed%a0%80",
        "/a\ud800",
        "/a%",
        "/a%4",
        "/a%zz",
        "/orders/7#/../../admin",
        "/orders#frag?x",
        "/orders?x#frag",
        "#",
        "/a;x=1",
        "/fix;",
        "/orders/;x",
        "/a;v=1/b",
        "/a%3Bx",
        "/a%3bx",
        "/a%253bx",
        "/a b",
        "/a?b c",
        "/a?b\tc",
        "/a?b\x85c",
        "/a?\ud800",
        '/a"b',
        "/a<b>",
        "/a[1]",
        "/a^b",
        "/a`b",
        "/a{b}",
        "/a|b",
        "//example.com:80@/;",
        "example.com:443",
        "/a/%EF%BC%8E%EF%BC%8E/b",
        "/a%EF%BC%8Fb",
        "/a/\uff0e\uff0e/b",
        "/a/\u2025/b",
        "/a\uff1bx",
        "/a\uff05\uff12\uff25",
        "/a\uff03b",
        "/a\uff3cb",
        "/a\u2044b",
        "/a%E2%88%95b",
        "/a\u2216b",
        "/a\u29f8b",
        "/a%E2%80%AEb",
        "/a%E2%80%8B",
        "/a\u2028b",
        "/a\u00adb",
        "/%EF%BB%BFa",
    ],
)
def test_ambiguous_path_is_rejected_with_a_reason(raw):
    with pytest.raises(AmbiguousPath, match=r"^The path .*\.$"):
        canonical_path(raw)


def test_header_is_decoded_from_the_bytes_sent():
    assert canonical_path(target_from_header("/caf\xc3\xa9/%41?q")) == "/café/A"
    with pytest.raises(AmbiguousPath, match="UTF-8"):
        canonical_path(target_from_header("/caf\xe9"))


@given(st.text(max_size=40))
def test_normalizing_a_path_is_idempotent(text):
    try:
        path = canonical_path("/" + text)
    except AmbiguousPath:
        return
    assert path.startswith("/")
    assert path == "/" or not path.endswith("/")
    assert "//" not in path
    assert not {".", ".."} & set(path.split("/"))
    if "%" not in path and "?" not in path and "#" not in path:
        assert canonical_path(path) == path


# --- Patterns ---


@pytest.mark.parametrize(
    "text",
    ["/", "/*", "/orders", "/orders/", "/orders/{id}", "/orders/{id}/lines/{line_2}", "/a/*", "/{a}/{b}/*", "/v1.0/~x-y_z",
     "/a=c,d@e:f!$&'()+", "/" + "a" * 254],
)  # fmt: skip
def test_valid_pattern_is_accepted(text):
    validate_pattern(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Start the path with a slash"),
        ("orders", "Start the path with a slash"),
        ("/a/*/b", "only as the last segment"),
        ("/a*", "only as the last segment"),
        ("/*a", "only as the last segment"),
        ("/**", "only as the last segment"),
        ("/{}", "only letters, digits and underscores"),
        ("/{1a}", "only letters, digits and underscores"),
        ("/{a b}", "only letters, digits and underscores"),
        ("/{a}x", "only letters, digits and underscores"),
        ("/{a", "only letters, digits and underscores"),
        ("/a}", "only letters, digits and underscores"),
        ("/{é}", "only letters, digits and underscores"),
        ("/{id}/x/{id}", "is used twice"),
        ("/a b", "Use only unaccented letters"),
        ("/a\n", "Use only unaccented letters"),
        ("/a%20b", "Use only unaccented letters"),
        ("/café", "Use only unaccented letters"),
        ("/a\x00", "Use only unaccented letters"),
        ("/a?x=1", "Remove the query"),
        ("/a#x", "Remove the query (?) or fragment"),
        ("/a//b", "Use single slashes"),
        ("/a/../b", "Remove the . or .. segment"),
        ("/" + "a" * 4096, "at most 255 characters. This path has 4,097."),
    ],
)
def test_invalid_pattern_is_rejected_with_a_message(text, message):
    with pytest.raises(ValidationError) as caught:
        validate_pattern(text)
    assert message in caught.value.messages[0]


def test_trailing_slash_of_a_pattern_is_removed():
    assert [normal_pattern(text) for text in ("/", "/a", "/a/", "/a/*")] == ["/", "/a", "/a", "/a/*"]


def test_patterns_that_only_differ_in_names_have_the_same_shape():
    assert pattern_shape("/orders/{id}/*") == pattern_shape("/orders/{order}/*") != pattern_shape("/orders/x/*")


# --- Matching ---


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("/", ["/"], ["/a"]),
        ("/*", ["/", "/a", "/a/b"], []),
        ("/orders", ["/orders"], ["/", "/Orders", "/orders/5", "/order"]),
        ("/orders/{id}", ["/orders/5", "/orders/{id}"], ["/orders", "/orders/5/lines"]),
        ("/orders/*", ["/orders", "/orders/5", "/orders/5/lines"], ["/", "/ordersx"]),
        ("/{a}/x/*", ["/1/x", "/1/x/y"], ["/1", "/1/y"]),
    ],
)
def test_pattern_matches(pattern, matching, others):
    trie = PatternTrie()
    trie.add(pattern, 1)
    for path in matching:
        assert pattern_matches(pattern, path)
        assert trie.match(path)
    for path in others:
        assert not pattern_matches(pattern, path)
        assert trie.match(path) is None


def best_match(patterns, path, method="GET"):
    trie = PatternTrie()
    for entry in patterns:
        name, _, pattern = entry.rpartition(" ")
        trie.add(pattern, entry, name)
    match = trie.match(path, method)
    return match and list(match.values)


def test_literal_precedes_placeholder_precedes_wildcard():
    patterns = ["/*", "/orders/*", "/orders/{id}", "/orders/new", "/{x}/new"]
    assert best_match(patterns, "/orders/new") == ["/orders/new"]
    assert best_match(patterns, "/orders/5") == ["/orders/{id}"]
    assert best_match(patterns, "/orders/5/lines") == ["/orders/*"]
    assert best_match(patterns, "/orders") == ["/orders/*"]
    assert best_match(patterns, "/users/new") == ["/{x}/new"]
    assert best_match(patterns, "/users/5") == ["/*"]


def test_leftmost_difference_decides():
    assert best_match(["/{a}/b/c", "/a/{b}/{c}"], "/a/b/c") == ["/a/{b}/{c}"]


def test_matching_backtracks():
    assert best_match(["/a/b/c", "/a/{x}/d"], "/a/b/d") == ["/a/{x}/d"]
    assert best_match(["/a/b/{x}/z", "/a/*"], "/a/b/c/d") == ["/a/*"]


def test_method_only_decides_between_equal_patterns():
    patterns = ["/orders/{id}", "POST /orders/{id}", "GET /orders/*"]
    assert best_match(patterns, "/orders/5", "POST") == ["POST /orders/{id}"]
    assert best_match(patterns, "/orders/5", "GET") == ["/orders/{id}"]
    assert best_match(patterns, "/orders", "GET") == ["GET /orders/*"]
    assert best_match(patterns, "/orders", "PUT") is None


def test_pattern_for_another_method_is_skipped():
    assert best_match(["POST /orders/{id}", "/orders/*"], "/orders/5", "GET") == ["/orders/*"]


def test_head_counts_as_get():
    assert best_match(["GET /orders"], "/orders", "HEAD") == ["GET /orders"]
    assert best_match(["GET /orders"], "/orders", "head") is best_match(["GET /orders"], "/orders", "get") is None


def test_values_with_the_same_shape_and_method_are_combined():
    assert best_match(["/orders/{id}", "/orders/{order}", "/orders/*"], "/orders/5") == [
        "/orders/{id}",
        "/orders/{order}",
    ]


# --- Compared with a naive implementation ---

SEGMENTS = st.sampled_from(["a", "b", "{x}", "{y}"])
PATTERNS = st.builds(
    lambda segments, star: "/" + "/".join([*segments, *(["*"] if star else [])]),
    st.lists(SEGMENTS, max_size=4),
    st.booleans(),
)
RULES = st.lists(st.tuples(st.sampled_from(["", "GET", "POST"]), PATTERNS), max_size=12)
PATHS = st.lists(st.sampled_from(["a", "b", "c"]), max_size=5).map(lambda segments: "/" + "/".join(segments))


def rank(pattern, method):
    """A sort key for the order of patterns: literal 0, {name} 1, * 2; an end beats a *."""
    kinds = [2 if segment == "*" else 1 if segment.startswith("{") else 0 for segment in pattern_segments(pattern)]
    return [*kinds, -1], method == ""


def naive_match(rules, path, method):
    found = [(name, pattern) for name, pattern in rules if name in {"", method} and pattern_matches(pattern, path)]
    if not found:
        return None
    best = min(rank(pattern, name) for name, pattern in found)
    return [rule for rule in found if rank(rule[1], rule[0]) == best]


@given(RULES, PATHS, st.sampled_from(["GET", "POST", "PUT"]))
def test_trie_agrees_with_a_naive_search(rules, path, method):
    trie = PatternTrie()
    for name, pattern in rules:
        trie.add(pattern, (name, pattern), name)
    match = trie.match(path, method)
    assert (list(match.values) if match else None) == naive_match(rules, path, method)


@given(RULES, PATHS)
def test_candidates_are_all_matches_best_first(rules, path):
    trie = PatternTrie()
    for name, pattern in rules:
        trie.add(pattern, (name, pattern), name)
    found = [rule for match in trie.candidates(path, "GET") for rule in match.values]
    expected = [rule for rule in rules if rule[0] in {"", "GET"} and pattern_matches(rule[1], path)]
    assert sorted(found) == sorted(expected)
    assert [rank(pattern, name) for name, pattern in found] == sorted(rank(pattern, name) for name, pattern in found)
