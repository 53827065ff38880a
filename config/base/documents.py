"""Read YAML files as plain text, lists and mappings that know their line: no tags, no aliases, nothing executed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from config.base.text import NotInEncoding, decode

# libyaml, where it's available, is ten times as fast.
Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

MAX_DEPTH = 10
NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class InvalidDocument(Exception):
    """line, column: from 1. place: the keys that lead there."""

    def __init__(self, message: str, line: int, column: int = 1, place: str = "") -> None:
        self.message, self.line, self.column, self.place = message, line, column, place
        super().__init__(f"Line {line}, column {column}{f' ({place})' if place else ''}: {message}")


class Node(NamedTuple):
    """value: text, None, a list of nodes, or a mapping to nodes. line, column: from 1. place: the keys that lead here."""

    value: Any
    line: int
    column: int
    place: str = ""

    def fault(self, message: str) -> InvalidDocument:
        return InvalidDocument(message, self.line, self.column, self.place)


def read_document(content: bytes) -> Node:
    """Raises InvalidDocument."""
    try:
        text = decode(content)
    except NotInEncoding as error:
        raise InvalidDocument("The file isn't in UTF-8. Save it in UTF-8.", error.line) from None
    try:
        return read_events(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"This isn't valid YAML: {error.problem or error.context}."
        raise InvalidDocument(message, mark.line + 1 if mark else 1, mark.column + 1 if mark else 1) from None
    except yaml.YAMLError as error:
        raise InvalidDocument(f"This isn't valid YAML: {str(error).splitlines()[0]}.", 1) from None


def read_events(text: str) -> Node:
    events = (event for event in yaml.parse(text, Loader=Loader) if not isinstance(event, yaml.StreamStartEvent))
    first = next(events)
    if isinstance(first, yaml.StreamEndEvent):
        raise InvalidDocument("The file is empty.", 1)
    node = read_node(next(events), events, "", 0)
    next(events)
    more: Any = next(events)
    if not isinstance(more, yaml.StreamEndEvent):
        raise InvalidDocument("A file can have only one document.", more.start_mark.line + 1)
    return node


def read_node(event: Any, events: Iterator[Any], place: str, depth: int) -> Node:
    line, column = event.start_mark.line + 1, event.start_mark.column + 1
    node = Node(None, line, column, place)
    if isinstance(event, yaml.AliasEvent):
        raise node.fault("Aliases (*) aren't supported. Repeat the text.")
    if event.tag is not None and not event.tag.startswith("tag:yaml.org,2002:str"):
        raise node.fault("Tags (!) aren't supported.")
    if isinstance(event, yaml.ScalarEvent):
        is_null = not event.style and event.tag is None and event.value in NULLS
        return node._replace(value=None if is_null else event.value)
    if depth == MAX_DEPTH:
        raise node.fault(f"Nest at most {MAX_DEPTH} levels.")
    read = read_sequence if isinstance(event, yaml.SequenceStartEvent) else read_mapping
    return node._replace(value=read(events, place, depth + 1))


def read_sequence(events: Iterator[Any], place: str, depth: int) -> list[Node]:
    items: list[Node] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        items.append(read_node(event, events, f"{place}[{len(items)}]", depth))
    return items


def read_mapping(events: Iterator[Any], place: str, depth: int) -> dict[str, Node]:
    items: dict[str, Node] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = read_node(event, events, place, depth)
        if not isinstance(key.value, str):
            raise key.fault("A key must be text.")
        if key.value in items:
            raise key.fault(f"“{key.value[:40]}” is given twice.")
        name = f"{place}.{key.value[:40]}".removeprefix(".")
        items[key.value] = read_node(next(events), events, name, depth)
    return items
