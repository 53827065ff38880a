"""Tiers and rate limits from a table with one rate limit, or none, in each row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from config.base.documents import InvalidDocument, Node
from config.base.importable import Columns, Importable, RowProblem
from config.base.tables import Row, Table, is_formula, plain_text
from ratelimits.plans.files import LIMIT_FIELDS, TIER_FIELDS, Problems, TierEntry, entries_of

PLANS = Importable(
    {
        "tier": ("tier", "tiername", "plan"),
        "description": ("description", "tierdescription"),
        "max_keys": ("maxkeys", "keys", "keysperuser"),
        "max_key_days": ("maxkeydays", "keydays", "daysuntilakeyexpires"),
        "name": ("name", "ratelimit", "ratelimitname", "limitname"),
        "host": ("host",),
        "path": ("path", "endpoint"),
        "method": ("method",),
        "limit": ("limit", "requests", "quota"),
        "unit": ("unit",),
        "period": ("period", "seconds", "periodseconds", "periodinseconds"),
        "window": ("window",),
        "overall": ("overall",),
        "mode": ("mode",),
    },
    {
        "tier": "tier",
        "description": "description of the tier",
        "max_keys": "keys per user",
        "max_key_days": "days until a key expires",
        "name": "name of the rate limit",
        **{name: name for name in LIMIT_FIELDS if name != "name"},
    },
    {"tier": "There is no column for tiers. Choose one."},
    "Only a tier is required. A row with a path and a limit is a rate limit of that tier.",
    "apply_plans",
)
YES, NO = {"yes", "true", "1"}, {"no", "false", "0"}


def read_table_of_plans(table: Table, columns: Columns) -> list[TierEntry]:
    """Raises Problems, whose lines are rows."""
    cells = [cells_of(row, columns, table.header) for row in table.rows]
    tiers: dict[str, list[dict[str, Node]]] = {}
    problems = [node.fault("This is a formula. Enter its result instead.") for row in cells for node in formulas(row)]
    for number, row in zip((row.number for row in table.rows), cells, strict=True):
        if "tier" in row:
            tiers.setdefault(row["tier"].value, []).append(row)
        else:
            place = table.header[columns["tier"]]
            problems.append(InvalidDocument("This cell is empty.", number, columns["tier"] + 1, place))
    problems += [fault for rows in tiers.values() for fault in contradictions(rows)]
    if problems:
        raise Problems(problems)
    return entries_of(mapping({"tiers": Node([tier_of(rows) for rows in tiers.values()], 1, 1)}, 1))


def cells_of(row: Row, columns: Columns, header: list[str]) -> dict[str, Node]:
    """The cells with text, by field."""
    filled = {name: row.cells[index] for name, index in columns.items() if row.cells[index]}
    return {
        name: Node(value_of(name, text), row.number, columns[name] + 1, header[columns[name]])
        for name, text in filled.items()
    }


def value_of(name: str, text: str) -> str:
    if name == "overall":
        return "true" if text.casefold() in YES else "false" if text.casefold() in NO else text
    return text if is_formula(text) else plain_text(text)


def formulas(row: dict[str, Node]) -> list[Node]:
    return [node for node in row.values() if is_formula(node.value)]


def contradictions(rows: list[dict[str, Node]]) -> Iterable[InvalidDocument]:
    for name in TIER_FIELDS:
        given = [row[name] for row in rows if name in row]
        for node in given[1:]:
            if node.value != given[0].value:
                yield node.fault(f"Row {given[0].line} has another value for this tier.")


def tier_of(rows: list[dict[str, Node]]) -> Node:
    first = rows[0]["tier"]
    about = {name: next((row[name] for row in rows if name in row), None) for name in TIER_FIELDS}
    limits = [
        mapping({name: row[name] for name in LIMIT_FIELDS if name in row}, row["tier"].line)
        for row in rows
        if any(name in row for name in LIMIT_FIELDS)
    ]
    values: dict[str, Any] = {"name": first, **{name: node for name, node in about.items() if node is not None}}
    return mapping(values | ({"limits": Node(limits, first.line, first.column)} if limits else {}), first.line)


def mapping(values: dict[str, Node], line: int) -> Node:
    return Node(values, line, 1)


def problems_of(error: Problems) -> list[RowProblem]:
    return [RowProblem(found.line, found.place or "–", found.message) for found in error.found]
