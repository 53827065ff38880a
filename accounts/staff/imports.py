"""Create and change many users from a table: first a plan with the problems of each row, then everything or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from allauth.account.models import EmailAddress
from allauth.core.context import request_context
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest

from accounts import services
from accounts.fields import normalize_email
from accounts.managers import UserQuerySet
from accounts.models import User
from accounts.rights import protected_fields, why_not_change
from config.base.database import in_batches
from config.base.history import ADDITION, CHANGE, Author, Change
from config.base.importable import Columns, Importable, InvalidRows, RowProblem, digest_of
from config.base.models import lock_live
from config.base.tables import Row, Table, is_formula, plain_text
from tiers.models import Tier

FIELDS = ("username", "email", "name", "tier")
HEADERS = {
    "username": ("username", "user", "login", "loginname"),
    "email": ("email", "emailaddress", "mail", "address"),
    "name": ("name", "fullname", "displayname", "realname"),
    "tier": ("tier", "tiername", "plan"),
}
LABELS = {"username": "username", "email": "email address", "name": "name", "tier": "tier"}
BATCH = 500
# A statement that updates many rows looks for each among all of its values.
UPDATE_BATCH = 100

USERS = Importable(
    HEADERS,
    LABELS,
    {"username": "There is no column for usernames. Choose one."},
    "Only a username is required; new users also need an email address.",
    "import_users",
)


@dataclass
class UserLine:
    """A row of the table, and what it does: create or change `user`, or neither."""

    number: int
    values: dict[str, str]
    user: User = field(default_factory=User)
    creates: bool = False
    changes: list[Change] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    old_email: str = ""  # if it changes


@dataclass
class Plan:
    header: Sequence[str]
    lines: list[UserLine]

    @property
    def problems(self) -> list[RowProblem]:
        return [problem for line in self.lines for problem in line.problems]

    @property
    def invalid(self) -> list[UserLine]:
        return [line for line in self.lines if line.problems]

    @property
    def created(self) -> list[UserLine]:
        return [line for line in self.lines if line.creates and not line.problems]

    @property
    def changed(self) -> list[UserLine]:
        return [line for line in self.lines if not line.creates and line.changes and not line.problems]

    @property
    def effective(self) -> list[UserLine]:
        return self.created + self.changed

    @property
    def unchanged(self) -> list[UserLine]:
        return [line for line in self.lines if not line.creates and not line.changes and not line.problems]

    @property
    def moved(self) -> list[UserLine]:
        return [line for line in self.changed if line.old_email]

    def email_count(self, *, invite: bool) -> int:
        return len(self.created) * invite + len(self.moved) * 2

    @property
    def digest(self) -> str:
        return digest_of([(line.number, line.user.pk, line.changes, line.problems) for line in self.lines])


def make_plan(table: Table, columns: Columns, actor: User | None, *, lock: bool = False) -> Plan:
    """What `actor` would import; None for a command, which may do everything. lock: for the rest of the transaction."""
    lines = [UserLine(row.number, values_of(row, columns)) for row in table.rows]
    titles = {name: table.header[index] for name, index in columns.items()}
    planner = Planner(lines, actor, lock=lock)
    for line in lines:
        for name, text in planner.problems_of(line):
            line.problems.append(RowProblem(line.number, titles.get(name, LABELS[name]), text))
    return Plan(table.header, lines)


def values_of(row: Row, columns: Columns) -> dict[str, str]:
    values = {name: row.cells[index] for name, index in columns.items()}
    if not is_formula(values.get("email", "")) and "email" in values:
        values["email"] = normalize_email(values["email"])
    return values


class Planner:
    """Looks up what the rows refer to: existing users, owners of addresses, tiers, and each other."""

    def __init__(self, lines: Sequence[UserLine], actor: User | None, *, lock: bool) -> None:
        self.actor = actor
        self.may_add = actor is None or actor.has_perm("accounts.add_user")
        self.may_change = actor is None or actor.has_perm("accounts.change_user")
        self.default_tier = Tier.objects.default()
        self.tiers: dict[str, Tier] = {
            tier.name: tier for tier in rows_named(Tier.objects.live(), "name", lines, "tier")
        }
        if lock:
            used = {tier.pk: tier for tier in (*self.tiers.values(), self.default_tier) if tier is not None}
            for pk in sorted(used):
                lock_live(used[pk])
        users: UserQuerySet = User.objects.live()
        people = (users.select_for_update(of=("self",)) if lock else users).select_related("tier")
        self.users = {user.username: user for user in rows_named(people, "username", lines)}
        self.owners = {user.email: user.pk for user in rows_named(users.only("email"), "email", lines)}
        self.first_rows = {
            (name, line.values.get(name, "")): line.number for line in reversed(lines) for name in ("username", "email")
        }

    def problems_of(self, line: UserLine) -> Iterator[tuple[str, str]]:
        """Yield (field, problem), and fill in the line's user and changes."""
        formulas = [name for name, text in line.values.items() if is_formula(text)]
        if formulas:
            yield from ((name, "This is a formula. Enter its result instead.") for name in formulas)
            return
        line.values = {name: plain_text(text) for name, text in line.values.items()}
        for name in ("username", "email"):
            text = line.values.get(name, "")
            if text and (first := self.first_rows[name, text]) != line.number:
                yield name, f"“{text}” is also in row {first}."
        tier_name = line.values.get("tier", "")
        if tier_name and tier_name not in self.tiers:
            yield "tier", f"There is no tier “{tier_name}”."
        existing = self.users.get(line.values["username"])
        yield from self.fill_new(line) if existing is None else self.fill_existing(line, existing)

    def fill_new(self, line: UserLine) -> Iterator[tuple[str, str]]:
        values = line.values
        tier = self.tiers.get(values.get("tier", ""), self.default_tier)
        name = values.get("name") or values["username"]
        user = User(username=values["username"], email=values.get("email", ""), name=name, tier=tier)
        line.user, line.creates = user, True
        given = {field: getattr(user, field) for field in FIELDS}
        line.changes = [Change(field=LABELS[field], old="–", new=str(value)) for field, value in given.items() if value]
        if not self.may_add:
            yield "username", "There is no user with this username, and you don't have permission to create users."
        yield from invalid_fields(user, ("username", "email", *(["name"] if values.get("name") else [])))
        yield from self.taken(user)

    def fill_existing(self, line: UserLine, user: User) -> Iterator[tuple[str, str]]:
        line.user = user
        wanted: dict[str, Any] = {name: line.values[name] for name in ("name", "email") if line.values.get(name)}
        if tier := self.tiers.get(line.values.get("tier", "")):
            wanted["tier"] = tier
        wanted = {name: value for name, value in wanted.items() if getattr(user, name) != value}
        if not wanted:
            return
        if (reason := self.why_not_change(user)) != "":
            yield "username", reason
        elif self.actor is not None and "email" in wanted and "email" in protected_fields(self.actor, user):
            yield "email", "Only superusers can change another user's address, and your own only on your account pages."
        line.old_email = user.email if "email" in wanted else ""
        for name, value in wanted.items():
            line.changes.append(Change(field=LABELS[name], old=str(getattr(user, name) or "–"), new=str(value)))
            setattr(user, name, value)
        yield from invalid_fields(user, wanted)
        yield from self.taken(user)

    def why_not_change(self, user: User) -> str:
        if not self.may_change:
            return "You don't have permission to edit users."
        return why_not_change(self.actor, user) if self.actor is not None else ""

    def taken(self, user: User) -> Iterator[tuple[str, str]]:
        if self.owners.get(user.email, user.pk) != user.pk:
            yield "email", "Another user has this email address."


def rows_named(rows: Any, name: str, lines: Iterable[UserLine], column: str = "") -> Iterator[Any]:
    """The rows whose field has a value of a line, in order of their primary keys within each batch."""
    values = {line.values.get(column or name, "") for line in lines} - {""}
    for batch in in_batches(sorted(values), BATCH):
        yield from rows.filter(**{f"{name}__in": batch}).order_by("pk")


def invalid_fields(user: User, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        try:
            validate_field(user, name)
        except ValidationError as error:
            yield name, " ".join(error.messages)


def validate_field(user: User, name: str) -> None:
    model_field: Any = User._meta.get_field(name)
    if not getattr(user, name):
        raise ValidationError("This cell is empty.")
    if not model_field.is_relation:
        model_field.clean(getattr(user, name), user)


# --- Carrying out ---


def import_users(
    table: Table,
    columns: Columns,
    author: Author,
    *,
    skip_invalid: bool = False,
    accept: Callable[[Plan], None],
) -> Plan:
    """Import the table in one transaction.

    accept: raises an error if this plan isn't acceptable. Raises InvalidRows, and IntegrityError if someone else has just taken
    a username or email address.
    """
    with transaction.atomic():
        plan = make_plan(table, columns, author.user, lock=True)
        if plan.problems and not skip_invalid:
            raise InvalidRows(plan)
        accept(plan)
        create(plan.created, author)
        change(plan.changed, author)
    return plan


def create(lines: Sequence[UserLine], author: Author) -> None:
    users = [line.user for line in lines]
    for user in users:
        user.set_unusable_password()
    User.objects.bulk_create(users, batch_size=BATCH)
    add_addresses(users)
    record(lines, ADDITION, author)


def change(lines: Sequence[UserLine], author: Author) -> None:
    for name in ("name", "email", "tier"):
        users = [line.user for line in lines if LABELS[name] in {change["field"] for change in line.changes}]
        User.objects.bulk_update(users, [name], batch_size=UPDATE_BATCH)
    moved = [line.user for line in lines if line.old_email]
    for batch in in_batches(moved, BATCH):
        EmailAddress.objects.filter(user__in=batch).delete()
    add_addresses(moved)
    record(lines, CHANGE, author)


def add_addresses(users: Iterable[User]) -> None:
    addresses = [EmailAddress(user=user, email=user.email, primary=True, verified=False) for user in users]
    EmailAddress.objects.bulk_create(addresses, batch_size=BATCH)


def record(lines: Sequence[UserLine], flag: int, author: Author) -> None:
    changes = {line.user.pk: line.changes for line in lines}
    author.record_many([line.user for line in lines], flag, changes=lambda user: changes[user.pk], note="Imported.")


def send_emails(plan: Plan, request: HttpRequest, *, invite: bool) -> None:
    """Email the new users, if `invite`, and both addresses of users whose address changed."""
    with request_context(request):  # from which allauth takes the host of links
        for line in plan.created if invite else ():
            services.send_invitation(request, line.user)
        for line in plan.moved:
            services.tell_moved(request, line.user, line.old_email)
