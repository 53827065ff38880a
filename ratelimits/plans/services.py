"""Make tiers and their rate limits equal to a file: everything or, if anything in it is wrong, nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from config.base.documents import InvalidDocument, Node
from config.base.history import ADDITION, CHANGE, DELETION, Author, Change, changes_between, snapshot
from ratelimits.models import RateLimit
from ratelimits.plans.files import LimitEntry, Problems, TierEntry, read_plans
from ratelimits.rules import forget_rules
from tiers.models import Tier
from tiers.services import replace_access


class AppliedPlans(NamedTuple):
    """differences: each as a line. kept: what isn't in the file, and wasn't deleted."""

    differences: list[str]
    kept: list[str]


def apply_plans(content: bytes, author: Author | None, *, prune: bool = False, dry_run: bool = False) -> AppliedPlans:
    """prune: delete what isn't in the file. author: None to leave no history.

    Raises InvalidDocument or Problems, and changes nothing.
    """
    return apply_entries(read_plans(content), author, prune=prune, dry_run=dry_run)


def apply_entries(
    entries: Sequence[TierEntry],
    author: Author | None,
    *,
    prune: bool = False,
    dry_run: bool = False,
    accept: Callable[[Sequence[str]], None] | None = None,
) -> AppliedPlans:
    """accept: raises an error, which undoes everything, if these differences won't do. Raises Problems."""
    plan = PlanWriter(entries, author, prune=prune)
    try:
        with transaction.atomic():
            plan.run()
            if accept is not None:
                accept(plan.differences)
            transaction.set_rollback(dry_run)
    except IntegrityError as error:
        raise Problems([InvalidDocument(f"The database rejected this file: {error}", 1)]) from None
    forget_rules()
    return AppliedPlans(plan.differences, plan.kept)


class PlanWriter:
    def __init__(self, entries: Sequence[TierEntry], author: Author | None, *, prune: bool) -> None:
        self.entries, self.author, self.prune = entries, author, prune
        self.problems: list[InvalidDocument] = []
        self.differences: list[str] = []
        self.kept: list[str] = []

    def run(self) -> None:
        live = Tier.objects.live().select_for_update(no_key=True).order_by("pk")
        tiers = {tier.name: tier for tier in live}
        targets = [(entry, tiers.pop(entry.name, None) or Tier(name=entry.name)) for entry in self.entries]
        self.drop_limits(RateLimit.objects.live().filter(tier__in=list(tiers.values())).order_by("pk"))
        for entry, tier in targets:
            self.write_tier(entry, tier)
        self.refuse()
        written = [self.write_limits(entry, tier) for entry, tier in targets if entry.limits is not None]
        self.refuse()
        for node, row in chain.from_iterable(written):
            # Like a form, once everything in the file is in place. The database has checked the constraints.
            self.is_valid(row.clean, node)
        self.drop_tiers(tiers.values())
        self.refuse()

    def refuse(self) -> None:
        if self.problems:
            raise Problems(self.problems)

    # --- Tiers

    def write_tier(self, entry: TierEntry, tier: Tier) -> None:
        is_new = tier.pk is None
        before = {} if is_new else snapshot(tier)
        for name, value in entry.values.items():
            setattr(tier, name, value)
        if not self.is_valid(tier.full_clean, entry.node):
            return
        if is_new:
            tier.save()
        changes = changes_between(before, snapshot(tier))
        if changes and not is_new:
            tier.save(update_fields=list(entry.values))
        if entry.access is not None:
            changes += replace_access(tier, [permission for _, permission in entry.access])
        self.note(tier, f"tier {tier}", changes, is_new=is_new)

    def drop_tiers(self, tiers: Iterable[Tier]) -> None:
        if not self.prune:
            self.kept += [f"tier {tier}" for tier in tiers]
            return
        for tier in tiers:
            try:
                Tier.objects.filter(pk=tier.pk).refuse_default()
                tier.delete()
            except ValidationError as error:
                self.problems += [InvalidDocument(message, 1) for message in error.messages]
            self.note_deletion(tier, f"tier {tier}")

    # --- Rate limits

    def write_limits(self, entry: TierEntry, tier: Tier) -> list[tuple[Node, RateLimit]]:
        """Returns those that changed."""
        entries = entry.limits or []
        limits: Any = tier.rate_limits
        rest = list(limits.live().order_by("pk"))
        self.refuse_same_rules(entries)
        pairs = [(limit, find(limit, rest) or RateLimit(tier=tier)) for limit in entries]
        self.drop_limits(rest)
        before = {row.pk: snapshot(row) for _, row in pairs if row.pk}
        changed = [(limit, row) for limit, row in pairs if set_values(row, limit.values) or row.pk is None]
        # A first save under other names, so that two limits can swap theirs.
        for _, row in changed:
            if row.pk is not None:
                RateLimit.objects.filter(pk=row.pk).update(name=f"~{row.pk}", path=f"/~{row.pk}")
        return [(limit.node, row) for limit, row in changed if self.write_limit(limit, row, before.get(row.pk, {}))]

    def write_limit(self, limit: LimitEntry, row: RateLimit, before: dict[str, str]) -> bool:
        is_new = row.pk is None
        if not self.is_valid(partial(row.clean_fields, {"tier", "user"}), limit.node):
            return False
        self.save(limit.node, row)
        # A generated name is another one at the next run.
        named = row if limit.values["name"] or not is_new else row.requests
        self.note(row, f"rate limit {named} of {row.tier}", changes_between(before, snapshot(row)), is_new=is_new)
        return True

    def save(self, node: Node, row: RateLimit) -> None:
        try:
            with transaction.atomic():
                row.save()
        except IntegrityError:
            self.is_valid(row.full_clean, node)
            if not self.problems:
                raise

    def refuse_same_rules(self, entries: Sequence[LimitEntry]) -> None:
        first: dict[Any, Node] = {}
        for entry in entries:
            rule = RateLimit(**entry.values).rule
            if first.setdefault(rule, entry.node) is not entry.node:
                message = f"The rate limit on line {first[rule].line} has the same host, path, method, window, period and unit."
                self.problems.append(entry.node.fault(message))
        self.refuse()

    def drop_limits(self, rows: Iterable[RateLimit]) -> None:
        if not self.prune:
            self.kept += [f"rate limit {row} of {row.tier}" for row in rows]
            return
        for row in rows:
            row.delete()
            self.note_deletion(row, f"rate limit {row} of {row.tier}")

    # --- Both

    def is_valid(self, check: Callable[[], None], node: Node) -> bool:
        try:
            check()
        except ValidationError as error:
            for name, messages in error.message_dict.items():
                at = node.value.get(name, node)
                self.problems += [at.fault(message) for message in messages]
            return False
        return True

    def note_deletion(self, row: Any, what: str) -> None:
        self.differences.append(f"- {what}")
        if self.author:
            self.author.record(row, DELETION, note="Not in the file.")

    def note(self, row: Any, what: str, changes: list[Change], *, is_new: bool) -> None:
        if is_new:
            values = described(changes, is_new=True)
            self.differences.append(f"+ {what}: {values}" if values else f"+ {what}")
        elif changes:
            self.differences.append(f"~ {what}: {described(changes)}")
        if self.author and (is_new or changes):
            self.author.record(row, ADDITION if is_new else CHANGE, changes=changes)


def find(entry: LimitEntry, rest: list[RateLimit]) -> RateLimit | None:
    """The row of a limit, taken out of `rest`: that of its name, or else of the same rule."""
    wanted = RateLimit(**entry.values).rule
    found = next((row for row in rest if row.name == entry.values["name"]), None)
    found = found or next((row for row in rest if row.rule == wanted), None)
    if found:
        rest.remove(found)
    return found


def set_values(row: RateLimit, values: dict[str, Any]) -> bool:
    """Whether one of them is another than before. A limit without a name keeps the one it has."""
    values = {name: value for name, value in values.items() if name != "name" or value}
    changed = {name for name, value in values.items() if getattr(row, name) != value}
    for name in changed:
        setattr(row, name, values[name])
    return bool(changed)


def described(changes: Iterable[Change], *, is_new: bool = False) -> str:
    """“limit: 10 → 20”."""
    hidden = {"ID", "id", "created", "tier", "user", "name"} if is_new else set()
    shown = [
        change for change in changes if change["field"] not in hidden and not (is_new and change["new"] in {"", "–"})
    ]
    return ", ".join(
        f"{change['field']}: {change['new']}" if is_new else f"{change['field']}: {change['old']} → {change['new']}"
        for change in shown
    )
