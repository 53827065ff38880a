"""Import keys from another key store: all keys of a file, or none.

A key keeps its secret. It's found by our hash of the foreign one (apikeys/secrets/foreign.py) until its first use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone

from accounts.models import User
from apikeys.decision.imported import learn_formats
from apikeys.models import APIKey, ImportedKey, KeyFormat, KeyPermission
from apikeys.secrets import hash_secret
from apikeys.services import check_expiry
from apikeys.tools.key_cells import READERS, REQUIRED, KeyLines, Line, LineProblem
from apikeys.tools.key_grants import STARS, Grant, allowed, lost_denials, own_resource
from apikeys.tools.key_hashes import StoredHash, formats_of, read_hash
from apikeys.tools.key_policy import lock_owners, policy_problems
from config.base.access import EVERYTHING, MAX_PERMISSIONS, Permission, in_words
from config.base.database import Insert, in_batches
from config.base.history import ADDITION, Author, entries_for
from ratelimits.models import RateLimit

VIA = "manage.py import_keys"
BATCH = 500
PROGRESS_EVERY = 10_000
# Columns that can differ between the lines of one key: each line has one of its permissions.
OF_ONE_PERMISSION = frozenset({"host", "resource", "action", "is_allowed", "conditions"})
KEPT = ("last_used_at", "last_used_ip", "expires_at", "rate_limit", "rate_period")
FOUND_ELSEWHERE = {"user", "prefix", "last4", "secret_hash", "pepper_id", "previous_hash", "name_folded"}

OWN_COLUMNS = frozenset(Permission._fields)


class PlanChanged(Exception):
    def __init__(self, problems: list[LineProblem]) -> None:
        super().__init__(str(problems[0]))


@dataclass
class Draft:
    """A key of the file that isn't in the database yet."""

    line: int
    username: str
    stored: StoredHash
    cells: dict[str, str]
    key: APIKey
    grants: list[Grant] = field(default_factory=list)
    permissions: list[Permission] = field(default_factory=list)


@dataclass
class KeyPlan:
    """What a file would change, the problems that prevent it, and what staff should know."""

    drafts: list[Draft] = field(default_factory=list)
    problems: list[LineProblem] = field(default_factory=list)
    roles: Counter[str] = field(default_factory=Counter)
    paths: dict[str, str] = field(default_factory=dict)

    def refuse(self, line: int, error: ValidationError, column: str = "") -> None:
        by_column = error.message_dict if hasattr(error, "error_dict") else {column: error.messages}
        for name, messages in by_column.items():
            self.problems += [LineProblem(line, "" if name == "__all__" else name, message) for message in messages]


def plan_keys(content: bytes, progress: Callable[[int], None]) -> KeyPlan:
    """What importing the file would do. progress: told how many lines are read. Raises FileError."""
    plan = KeyPlan()
    by_hash: dict[str, Draft] = {}
    lines = KeyLines(content, READERS)
    has_permissions = "permissions" in lines.columns or not OWN_COLUMNS.isdisjoint(lines.columns)
    for done, line in enumerate(lines, start=1):
        read_line(plan, by_hash, line, has_permissions=has_permissions)
        if done % PROGRESS_EVERY == 0:
            progress(done)
    plan.problems += lines.problems
    refuse_same_starts(plan)
    for batch in in_batches(plan.drafts, BATCH):
        find_owners(plan, batch)
        refuse_imported(plan, batch)
    for draft in plan.drafts:
        complete(plan, draft)
    plan.problems += policy_problems([(draft.line, draft.key) for draft in plan.drafts if draft.key.user_id])
    plan.problems.sort()
    return plan


def read_line(plan: KeyPlan, by_hash: dict[str, Draft], line: Line, *, has_permissions: bool) -> None:
    values = read_cells(plan, line)
    if values is None:
        return
    try:
        stored = read_hash(line.cells["algorithm"], line.cells["hash"], values.get("prefix", ""))
    except ValidationError as error:
        plan.refuse(line.number, error)
        return
    grants = grants_of(line.number, values) if has_permissions else [Grant(line.number, EVERYTHING)]
    draft = by_hash.get(stored.marked)
    if draft is None:
        draft = by_hash[stored.marked] = new_draft(line, stored, values)
        plan.drafts.append(draft)
        plan.roles.update(values.get("roles", ()))
    elif key_cells(draft.cells) != key_cells(line.cells) or permissions_of(grants) <= permissions_of(draft.grants):
        plan.problems.append(LineProblem(line.number, "hash", f"Line {draft.line} has the same hash."))
    draft.grants += grants


def read_cells(plan: KeyPlan, line: Line) -> dict[str, Any] | None:
    """The values of the optional columns; None if a cell of the line is wrong."""
    found = len(plan.problems)
    values = {}
    for column in REQUIRED:
        if column not in line.cells:
            plan.problems.append(LineProblem(line.number, column, "This cell is empty."))
    for column, reader in READERS.items():
        if column in line.cells:
            try:
                values[column] = reader(line.cells[column])
            except ValidationError as error:
                plan.refuse(line.number, error, column)
    if values.get("conditions"):
        plan.problems.append(LineProblem(line.number, "conditions", "Permissions with conditions can't be imported."))
    return values if len(plan.problems) == found else None


def key_cells(cells: dict[str, str]) -> dict[str, str]:
    return {column: text for column, text in cells.items() if column not in OF_ONE_PERMISSION}


def new_draft(line: Line, stored: StoredHash, values: dict[str, Any]) -> Draft:
    key = APIKey(
        name=line.cells["name"],
        prefix=stored.prefix,
        secret_hash=hash_secret(stored.marked),
        pepper_id=stored.algorithm,
        is_active=values.get("is_active", True),
        allowed_ips=values.get("allowed_ips", []),
        metadata=values.get("metadata"),
        rate_window=values.get("rate_window", RateLimit.Window.ROLLING),
        created_at=values.get("created_at") or timezone.now(),
        revoked_reason="",
        **{name: values.get(name) for name in KEPT},
    )
    if values.get("usage_limits") and key.rate_limit is None:
        key.rate_limit, key.rate_period = values["usage_limits"]
    if values.get("revoked"):
        key.revoked_at, key.revoked_reason = timezone.now(), "Revoked before the import"
    return Draft(line.number, line.cells["username"], stored, line.cells, key)


def grants_of(line: int, values: dict[str, Any]) -> list[Grant]:
    grants = [Grant(line, normal(permission)) for permission in values.get("permissions", ())]
    if not OWN_COLUMNS.isdisjoint(values):
        named = Permission(*(values.get(column, "") for column in Permission._fields))
        grants.append(Grant(line, normal(named), values.get("is_allowed", True)))
    return grants


def normal(permission: Permission) -> Permission:
    action, resource, host = permission
    return Permission(STARS.get(action.lower(), action.lower()), STARS.get(resource.lower(), resource), host)


def permissions_of(grants: Sequence[Grant]) -> set[Permission]:
    return {grant.permission for grant in grants}


def refuse_same_starts(plan: KeyPlan) -> None:
    """A key with a slow hash is found by its prefix."""
    first: dict[str, int] = {}
    for draft in plan.drafts:
        if draft.stored.start and first.setdefault(draft.stored.start, draft.line) != draft.line:
            message = f"Line {first[draft.stored.start]} has the same prefix."
            plan.problems.append(LineProblem(draft.line, "prefix", message))


def find_owners(plan: KeyPlan, drafts: Sequence[Draft]) -> None:
    names = {draft.username.casefold() for draft in drafts}
    owners = {owner.username: owner for owner in User.objects.live().filter(username__in=names).select_related("tier")}
    for draft in drafts:
        owner = owners.get(draft.username.casefold())
        if owner is None:
            message = f"There is no user with the username “{draft.username[:40]}”."
            plan.problems.append(LineProblem(draft.line, "username", message))
        else:
            draft.key.user = owner


def refuse_imported(plan: KeyPlan, drafts: Sequence[Draft]) -> None:
    peppers = settings.API_KEY_PEPPERS
    by_marker = {hash_secret(draft.stored.marked, pepper): draft for draft in drafts for pepper in peppers}
    by_start = {draft.stored.start: draft for draft in drafts if draft.stored.start}
    for marker in ImportedKey.objects.filter(marker__in=list(by_marker)).values_list("marker", flat=True):
        plan.problems.append(LineProblem(by_marker[marker].line, "hash", "This key has already been imported."))
    others = ImportedKey.objects.filter(start__in=list(by_start)).exclude(marker__in=list(by_marker))
    for start in others.values_list("start", flat=True):
        plan.problems.append(
            LineProblem(by_start[str(start)].line, "prefix", "An imported key already has this prefix.")
        )


def complete(plan: KeyPlan, draft: Draft) -> None:
    """Check the key as a form would, and give it its permissions."""
    try:
        draft.key.clean_fields(exclude=FOUND_ELSEWHERE)
        draft.key.clean()
        check_expiry(draft.key.expires_at)
    except ValidationError as error:
        plan.refuse(draft.line, error)
    complete_permissions(plan, draft)


def complete_permissions(plan: KeyPlan, draft: Draft) -> None:
    for denial, grant in lost_denials(draft.grants):
        message = (
            f"Line {grant.line} allows “{grant.permission}”, and this line denies a part of it. Gatehouse "
            "only knows what a key may do: list that instead."
        )
        plan.problems.append(LineProblem(denial.line, "is_allowed", message))
    try:
        draft.permissions = allowed(draft.grants)
    except ValidationError as error:
        plan.refuse(draft.line, error)
    for grant in draft.grants:
        resource = grant.permission.resource
        if own_resource(resource) != resource:
            plan.paths[resource] = own_resource(resource)
    if len(draft.permissions) > MAX_PERMISSIONS:
        message = f"A key can have at most {MAX_PERMISSIONS} permissions."
        plan.problems.append(LineProblem(draft.line, "permissions", message))


def save_keys(plan: KeyPlan) -> None:
    """Create all keys of the plan, or none. Raises PlanChanged or IntegrityError after a race."""
    inserts = [Insert.of(rows) for rows in rows_of(plan.drafts) if rows]
    formats = formats_of([draft.stored for draft in plan.drafts])
    with transaction.atomic():
        lock_owners([draft.key for draft in plan.drafts])
        if problems := policy_problems([(draft.line, draft.key) for draft in plan.drafts]):
            raise PlanChanged(problems)
        for insert in inserts:
            insert.run()
        KeyFormat.objects.bulk_create([KeyFormat(**known._asdict()) for known in formats], ignore_conflicts=True)
    learn_formats()


def rows_of(drafts: Sequence[Draft]) -> Iterator[Sequence[models.Model]]:
    yield [draft.key for draft in drafts]
    yield [
        KeyPermission(api_key=draft.key, **permission._asdict()) for draft in drafts for permission in draft.permissions
    ]
    yield [
        ImportedKey(
            api_key=draft.key, marker=draft.key.secret_hash, start=draft.stored.start, encoded=draft.stored.encoded
        )
        for draft in drafts
    ]
    yield entries_for(((Author(draft.key.user, via=VIA), draft.key, note_of(draft)) for draft in drafts), ADDITION)


def note_of(draft: Draft) -> str:
    return f"Imported for {draft.key.user} ({draft.stored.algorithm}). Permissions: {in_words(draft.permissions)}."
