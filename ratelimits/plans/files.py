"""Plans as YAML: tiers with their key policy, access and rate limits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import yaml
from django.core.exceptions import ValidationError

from config.base.access import MAX_PERMISSIONS, Permission, validate_resource
from config.base.documents import InvalidDocument, Node, read_document
from config.base.hosts import normal_host_pattern
from ratelimits.matching import normal_pattern
from ratelimits.models import PERIODS, RateLimit
from ratelimits.services import COPIED_FIELDS
from tiers.models import Tier, TierAccess

HEADER = "# Tiers of Gatehouse: their key policy, access and rate limits. Apply it with manage.py apply_plans FILE.\n"
TIER_FIELDS = ("description", "max_keys", "max_key_days")
LIMIT_FIELDS = ("name", *COPIED_FIELDS)
# Without these, a rate limit isn't one.
REQUIRED = ("path", "limit")
NUMBER = re.compile(r"[+-]?[0-9]{1,40}")

# Each is compared with all others of its tier, in one transaction.
MAX_LIMITS = 2_000

Reader = Callable[[Node], Any]


class LimitEntry(NamedTuple):
    """A rate limit of a file. values: by field; those it doesn't give have their default."""

    node: Node
    values: dict[str, Any]


class TierEntry(NamedTuple):
    """A tier of a file. values: only of the fields it gives. access, limits: None if it doesn't give them."""

    node: Node
    name: str
    values: dict[str, Any]
    access: list[tuple[Node, Permission]] | None
    limits: list[LimitEntry] | None


class Problems(Exception):
    """Everything that's wrong with a file."""

    def __init__(self, found: Sequence[InvalidDocument]) -> None:
        self.found = sorted(found, key=lambda problem: (problem.line, problem.column))
        super().__init__("\n".join(map(str, self.found)))


# --- Write -------------------------------------------------------------------------------------------------------------


def export_plans() -> str:
    tiers = Tier.objects.live().order_by("name").prefetch_related("access", "rate_limits")
    plans = {"tiers": [tier_as_data(tier) for tier in tiers]}
    return HEADER + yaml.dump(plans, Dumper=Dumper, allow_unicode=True, sort_keys=False, width=100)


class Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def tier_as_data(tier: Tier) -> dict[str, Any]:
    limits: Any = tier.rate_limits
    live = [limit for limit in limits.all() if limit.deleted_at is None]
    access = sorted(str(rule.permission) for rule in tier.access.all())
    return {
        "name": tier.name,
        **{name: getattr(tier, name) for name in TIER_FIELDS},
        "access": access,
        "limits": [limit_as_data(limit) for limit in sorted(live, key=lambda one: (one.path, one.method, one.name))],
    }


def limit_as_data(limit: RateLimit) -> dict[str, Any]:
    """The limit's values, except those that are the default."""
    given = {name: getattr(limit, name) for name in LIMIT_FIELDS}
    return {
        name: value
        for name, value in given.items()
        if name in {"name", *REQUIRED}
        or (value != default_of(name) and not (name == "period" and limit.window in PERIODS))
    }


def default_of(name: str) -> Any:
    field: Any = RateLimit._meta.get_field(name)
    return field.get_default()


# --- Read --------------------------------------------------------------------------------------------------------------


def read_plans(content: bytes) -> list[TierEntry]:
    """Raises InvalidDocument, or Problems with all of them."""
    return entries_of(read_document(content))


def entries_of(document: Node) -> list[TierEntry]:
    """Raises Problems."""
    return PlanReader(document).tiers


class PlanReader:
    def __init__(self, document: Node) -> None:
        self.problems: list[InvalidDocument] = []
        root = self.mapping(document, {"tiers"}, required=("tiers",))
        entries = [self.tier(node) for node in self.items(root.get("tiers"))]
        self.tiers = [entry for entry in entries if entry]
        if sum(len(tier.limits or ()) for tier in self.tiers) > MAX_LIMITS:
            self.problems.append(document.fault(f"A file can have at most {MAX_LIMITS:,} rate limits."))
        self.refuse_twice([(entry.node, entry.name, "name") for entry in self.tiers])
        self.refuse_twice(
            [
                (limit.node, limit.values["name"], "name")
                for tier in self.tiers
                for limit in tier.limits or ()
                if limit.values["name"]
            ]
        )
        if self.problems:
            raise Problems(self.problems)

    def tier(self, node: Node) -> TierEntry | None:
        given = self.mapping(node, {"name", *TIER_FIELDS, "access", "limits"}, required=("name",))
        name = self.read(given.get("name"), read_text)
        if name is None:
            return None
        readers: dict[str, Reader] = {"description": read_text, "max_keys": read_number, "max_key_days": read_number}
        values = {field: self.read(given[field], reader) for field, reader in readers.items() if field in given}
        if "description" in values:
            values["description"] = values["description"] or ""
        access = self.read_all(given, "access", self.access)
        entry = TierEntry(node, name, values, access, self.read_all(given, "limits", self.limit))
        self.check_access(entry)
        return entry

    def read_all(self, given: dict[str, Node], name: str, read: Callable[[Node], Any]) -> list[Any] | None:
        """Those of the items that can be read; None if the file doesn't give them."""
        return [item for node in self.items(given[name]) if (item := read(node))] if name in given else None

    def access(self, node: Node) -> tuple[Node, Permission] | None:
        permission = self.read(node, read_permission)
        return (node, permission) if permission else None

    def check_access(self, entry: TierEntry) -> None:
        access = entry.access or []
        self.refuse_twice([(node, permission, "") for node, permission in access])
        if len(access) > MAX_PERMISSIONS:
            self.problems.append(entry.node.fault(f"A tier can have at most {MAX_PERMISSIONS} access rules."))

    def limit(self, node: Node) -> LimitEntry | None:
        given = self.mapping(node, set(LIMIT_FIELDS), required=REQUIRED)
        found = len(self.problems)
        values = {name: default_of(name) for name in LIMIT_FIELDS}
        for name, value in given.items():
            read = self.read(value, READERS[name])
            values[name] = values[name] if read is None else read
        values["period"] = PERIODS.get(values["window"], values["period"])
        complete = len(self.problems) == found and not [name for name in REQUIRED if values[name] in (None, "")]
        return LimitEntry(node, values) if complete else None

    def mapping(self, node: Node, known: set[str], required: Sequence[str] = ()) -> dict[str, Node]:
        if not isinstance(node.value, dict):
            self.problems.append(
                node.fault(f"Enter keys such as {', '.join(sorted(known))}, each with a colon and a value.")
            )
            return {}
        for name, value in node.value.items():
            if name not in known:
                self.problems.append(value.fault(f"“{name[:40]}” isn't known here. Use {', '.join(sorted(known))}."))
        for name in required:
            if name not in node.value or node.value[name].value in (None, ""):
                self.problems.append(node.fault(f"“{name}” is missing."))
        return {name: value for name, value in node.value.items() if name in known}

    def items(self, node: Node | None) -> list[Node]:
        if node is None or node.value is None:
            return []
        if not isinstance(node.value, list):
            self.problems.append(node.fault("Enter a list. Each of its lines begins with a hyphen."))
            return []
        return node.value

    def read(self, node: Node | None, reader: Reader) -> Any:
        if node is None or node.value is None:
            return None
        try:
            return reader(node)
        except InvalidDocument as problem:
            self.problems.append(problem)
        except ValidationError as error:
            self.problems += [node.fault(message) for message in error.messages]
        return None

    def refuse_twice(self, named: Sequence[tuple[Node, Any, str]]) -> None:
        first: dict[Any, Node] = {}
        for node, value, key in named:
            if first.setdefault(value, node) is not node:
                place = node.value[key] if key else node
                self.problems.append(place.fault(f"“{value}” is given twice, first on line {first[value].line}."))


# Each reads a node that has a value. Raises InvalidDocument or ValidationError.


def read_text(node: Node) -> str:
    if not isinstance(node.value, str):
        raise node.fault("Enter text, not a list or keys.")
    return node.value


def read_number(node: Node) -> int:
    if not isinstance(node.value, str) or not NUMBER.fullmatch(node.value):
        raise node.fault("Enter a whole number.")
    return int(node.value)


def read_bool(node: Node) -> bool:
    if node.value not in {"true", "false"}:
        raise node.fault("Enter true or false.")
    return bool(node.value == "true")


def read_permission(node: Node) -> Permission:
    if not isinstance(node.value, str):
        raise node.fault("Enter an action and a resource as text, for example read /orders/*.")
    permission = Permission.parse(node.value)
    if permission.host:
        permission = permission._replace(host=normal_host_pattern(permission.host))
    if permission.action not in TierAccess.Action.values:
        raise node.fault("Choose read, create, update, delete or *.")
    validate_resource(permission.resource)
    return permission


READERS: dict[str, Reader] = {
    "name": read_text,
    "host": lambda node: normal_host_pattern(read_text(node)),
    "path": lambda node: normal_pattern(read_text(node)),
    "method": read_text,
    "limit": read_number,
    "unit": read_text,
    "period": read_number,
    "window": read_text,
    "overall": read_bool,
    "mode": read_text,
}
