"""Abstract models for every app: timestamps, soft delete, UUID keys.

Soft delete marks a row instead of removing it. `objects` and the base manager include deleted rows; callers choose with
`.live()` or `.deleted()`. docs/soft-delete.md has the reasons.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar, Self, TypeVar, cast

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, router, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.text import capfirst

from config.base.search import folded_fields, folded_values, with_folded
from config.base.text import quoted

M_co = TypeVar("M_co", bound=models.Model, covariant=True)

LIVE = models.Q(deleted_at__isnull=True)
# The condition of indexes of deleted rows. SQLite would prefer an index of all rows to any other, to find those that are live.
DELETED = models.Q(deleted_at__isnull=False)


def uuid7(at: datetime | None = None) -> uuid.UUID:
    """A version 7 UUID (RFC 9562, sections 5.7 and 6.2, method 3) for the time `at` (default: now).

    48 bits of Unix milliseconds, 12 bits of the fraction of that millisecond, 62 random bits. Later ids sort later, to a
    quarter of a microsecond, so a B-tree on them grows only at its right edge.
    """
    nanoseconds = time.time_ns() if at is None else int(at.timestamp() * 1_000_000) * 1000
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    fraction = rest * 4096 // 1_000_000
    random = int.from_bytes(os.urandom(8)) >> 2
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0x2 << 62 | random)


class ConcurrentDeletion(ValidationError):
    """A row that was chosen as a parent has been deleted since."""


def lock_if_live(row: SoftDeleteModel) -> bool:
    """Whether the row is live. In a transaction, its deletion has to wait until the transaction ends."""
    rows: Any = type(row)._default_manager.filter(LIVE, pk=row.pk)
    if transaction.get_connection().in_atomic_block:
        # Without the default ordering, which may join other tables that must not be locked.
        rows = rows.order_by().select_for_update(no_key=True)
    return rows.values_list("pk").first() is not None


def lock_deleted(row: SoftDeleteModel) -> bool:
    """Whether the row is still deleted, and wasn't restored since it was loaded. In a transaction, restoring it has to wait."""
    rows: Any = type(row)._default_manager.exclude(LIVE).filter(pk=row.pk, deleted_at=row.deleted_at)
    return rows.order_by().select_for_update().values_list("pk").first() is not None


def lock_live(row: SoftDeleteModel) -> None:
    """Keep the row live until this transaction ends. Raises ConcurrentDeletion if it is already deleted.

    Lock parents before their rows, as deletion does.
    """
    if not lock_if_live(row):
        kind = row._meta.verbose_name
        raise ConcurrentDeletion(f"The {kind} “{row}” has just been deleted. Choose another {kind}.", code="deleted")


def lock_all_live(rows: Iterable[SoftDeleteModel]) -> None:
    """Like `lock_live`, sorted, so that two transactions can't deadlock."""
    for row in sorted(rows, key=lambda row: str(row.pk)):
        lock_live(row)


def parent_fields(model: Any, written: Collection[str]) -> list[Any]:
    """Those of `live_parents` that are written, by the name of the field or of its column."""
    parents = map(model._meta.get_field, model.live_parents)
    return [field for field in parents if field.name in written or field.attname in written]


def parents_among(field: Any, values: Iterable[Any]) -> list[Any]:
    """The rows that a foreign key is set to. values: rows, primary keys, expressions (which are left out) or None."""
    rows = [value for value in values if isinstance(value, SoftDeleteModel)]
    keys = [value for value in values if value is not None and not hasattr(value, "resolve_expression")]
    keys = [key for key in keys if key not in rows]
    return [*rows, *field.related_model._default_manager.filter(pk__in=keys)] if keys else rows


class UUIDModel(models.Model):
    """For rows with public ids, which must not reveal how many rows there are."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)

    class Meta:
        abstract = True


class TimestampedQuerySet(models.QuerySet[M_co]):
    """Bulk writes set `updated_at`, as `save()` does."""

    def update(self, **values: Any) -> int:
        values.setdefault("updated_at", timezone.now())
        return super().update(**values, **folded_values(self.model, values))

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        if options.get("update_fields"):
            options["update_fields"] = with_folded(self.model, {*options["update_fields"], "updated_at"})
        return super().bulk_create(objs, *args, **options)

    def bulk_update(self, objs: Iterable[Any], fields: Iterable[str], *args: Any, **options: Any) -> int:
        objs, fields = tuple(objs), with_folded(self.model, fields)
        for field in folded_fields(self.model):
            for row in objs if field.name in fields else ():
                field.pre_save(row, add=False)
        return super().bulk_update(objs, fields, *args, **options)

    bulk_update.alters_data = True  # type: ignore[attr-defined]


class TimestampedModel(models.Model):
    created_at = models.DateTimeField("created", db_default=Now(), editable=False)
    updated_at = models.DateTimeField("updated", db_default=Now(), auto_now=True, editable=False)

    objects = TimestampedQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        if update_fields:
            update_fields = with_folded(type(self), {*update_fields, "updated_at"})
        super().save(update_fields=update_fields, **options)

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """The error for a value that isn't a choice lists the choices, because files and commands don't show them."""
        try:
            super().clean_fields(exclude=exclude)
        except ValidationError as errors:
            for name, found in errors.error_dict.items():
                for error in found:
                    if error.code == "invalid_choice":
                        error.message, error.params = choices_in_words(self._meta.get_field(name), error), None
            raise


def choices_in_words(field: Any, error: Any) -> str:
    choices = ", ".join(str(value) for value, _ in field.flatchoices if value)
    return f"{quoted(str(error.params['value']))} isn't a valid {field.verbose_name}. Enter one of {choices}."


class SoftDeleteQuerySet(TimestampedQuerySet[M_co]):
    def live(self) -> Self:
        return self.filter(LIVE)

    def deleted(self) -> Self:
        return self.exclude(LIVE)

    def live_or_current(self, pk: Any) -> Self:
        """Choices for a form: live rows and the current one, so that saving the form unchanged keeps it."""
        return self.filter(LIVE | models.Q(pk=pk))

    def update(self, **values: Any) -> int:
        """Raises ConcurrentDeletion rather than attach rows to a deleted one (`live_parents`)."""
        parents = [
            parent
            for field in parent_fields(self.model, values)
            for parent in parents_among(field, [values.get(field.name, values.get(field.attname))])
        ]
        if not parents:
            return super().update(**values)
        with transaction.atomic(using=self.db):
            lock_all_live(parents)
            return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        rows, model = list(objs), cast("Any", self.model)
        with transaction.atomic(using=self.db):
            lock_all_live({getattr(row, name) for row in rows for name in model.live_parents} - {None})
            return super().bulk_create(rows, *args, **options)

    def bulk_update(self, objs: Iterable[Any], fields: Iterable[str], *args: Any, **options: Any) -> int:
        rows, fields = tuple(objs), tuple(fields)
        with transaction.atomic(using=self.db):
            for field in parent_fields(self.model, fields):
                lock_all_live(parents_among(field, {getattr(row, field.attname) for row in rows}))
            return super().bulk_update(rows, fields, *args, **options)

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def delete(self) -> tuple[int, dict[str, int]]:
        count = self.live().update(**self.deletion_values())
        return count, ({self.model._meta.label: count} if count else {})

    def deletion_values(self) -> dict[str, Any]:
        return {"deleted_at": timezone.now()}

    def hard_delete(self) -> tuple[int, dict[str, int]]:
        return super().delete()

    def restore(self) -> int:
        """Restore the deleted rows, all or none. Returns how many.

        Raises ValidationError, naming the live row in conflict, if one of them would violate a unique constraint.
        """
        with transaction.atomic(using=self.db):
            rows: list[Any] = list(self.deleted())
            for row in rows:
                row.restore()
        return len(rows)

    # Not for templates or managers: `Tier.objects.delete()` would empty a table.
    delete.alters_data = delete.queryset_only = True  # type: ignore[attr-defined]
    hard_delete.alters_data = hard_delete.queryset_only = True  # type: ignore[attr-defined]
    restore.alters_data = restore.queryset_only = True  # type: ignore[attr-defined]


class SoftDeleteModel(models.Model):
    """`delete()` never cascades: a row is effective only while it and all its ancestors are live, which queries check."""

    deleted_at = models.DateTimeField("deleted", null=True, blank=True, editable=False)
    # Computed by the database, so that the two always agree.
    is_deleted = models.GeneratedField(
        expression=models.Case(models.When(deleted_at__isnull=True, then=False), default=True),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    # Foreign keys that must refer to a live row when they are set.
    live_parents: ClassVar[tuple[str, ...]] = ()

    objects = SoftDeleteQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *, force_insert: Any = False, update_fields: Iterable[str] | None = None, **options: Any) -> None:
        """Never writes `deleted_at` of an existing row, so that a stale instance can't restore its row.

        Raises ConcurrentDeletion rather than attach the row to a deleted one (`live_parents`).
        """
        if update_fields is None and not force_insert and not self._state.adding:
            update_fields = self._fields_of_a_full_save()
        fields = None if update_fields is None else set(update_fields)
        parents = self.live_parents if fields is None else [field.name for field in parent_fields(type(self), fields)]
        if not parents:
            super().save(force_insert=force_insert, update_fields=fields, **options)
            return
        with transaction.atomic(using=options.get("using")):
            for name in parents:
                self._lock_new_parent(name)
            super().save(force_insert=force_insert, update_fields=fields, **options)

    def clean_fields(self, exclude: Collection[str] | None = None) -> None:
        """Refuses a deleted row where one of `live_parents` is set to it."""
        errors: dict[str, Any] = {}
        try:
            super().clean_fields(exclude=exclude)
        except ValidationError as error:
            error.update_error_dict(errors)
        for name in set(self.live_parents) - set(exclude or ()) - errors.keys():
            parent = getattr(self, name)
            if parent is not None and parent.deleted_at is not None and self._is_new_parent(name, parent):
                kind = parent._meta.verbose_name
                errors[name] = f"The {kind} “{parent}” is deleted. Choose another {kind}."
        if errors:
            raise ValidationError(errors)

    def _is_new_parent(self, name: str, parent: SoftDeleteModel) -> bool:
        # An unchanged parent may be deleted.
        return self._state.adding or not self._as_queryset(None).filter(**{name: parent}).exists()

    def _lock_new_parent(self, name: str) -> None:
        parent = getattr(self, name)
        if parent is not None and self._is_new_parent(name, parent):
            lock_live(parent)

    def _fields_of_a_full_save(self) -> set[str]:
        skipped = self.get_deferred_fields() | {"deleted_at", "created_at"}
        written = {
            field.name
            for field in self._meta.concrete_fields
            if not field.primary_key and not field.generated and field.attname not in skipped
        }
        return with_folded(type(self), written)

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        result: tuple[int, dict[str, int]] = self._as_queryset(using).delete()
        self._refresh_state(using)
        return result

    def hard_delete(self, using: str | None = None) -> tuple[int, dict[str, int]]:
        result: tuple[int, dict[str, int]] = self._as_queryset(using).hard_delete()
        return result

    def restore(self, using: str | None = None) -> None:
        """Raises ValidationError, naming the live row in conflict, if it would violate a unique constraint, or if it was purged."""
        row = self._as_queryset(using).first()
        if row is not None and row.deleted_at is not None:
            row._raise_conflict()
            try:
                with transaction.atomic(using=row._state.db):
                    row._as_queryset(using).deleted().update(deleted_at=None)
            except IntegrityError:
                row._raise_conflict()
                raise
        if not self._refresh_state(using):
            raise ValidationError(f"{capfirst(str(self._meta.verbose_name))} “{self}” no longer exists.", code="purged")

    delete.alters_data = hard_delete.alters_data = restore.alters_data = True  # type: ignore[attr-defined]

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """Always includes `deleted_at`.

        ModelForm excludes fields that aren't on the form, and Django skips a constraint whose condition uses an excluded
        field, so live duplicates would end in a database error.
        """
        super().validate_constraints(exclude=set(exclude or ()) - {"deleted_at", "is_deleted"})

    def _as_queryset(self, using: str | None) -> Any:
        database = using or router.db_for_write(type(self), instance=self)
        return type(self)._default_manager.using(database).filter(pk=self.pk)

    def _refresh_state(self, using: str | None) -> bool:
        """Returns whether the row exists."""
        rows = self._as_queryset(using)
        state = rows.values("is_deleted", "updated_at", *rows.deletion_values()).first()
        for name, value in (state or {}).items():
            setattr(self, name, value)
        return state is not None

    def _raise_conflict(self) -> None:
        for constraint, row in self._live_conflicts():
            fields = " and ".join(label(self._meta.get_field(name)) for name in constraint.fields)
            kind = self._meta.verbose_name
            raise ValidationError(
                f"{capfirst(str(kind))} “{self}” can't be restored because the {kind} “{row}” has the same {fields}. "
                f"Rename or delete that one first.",
                code="restore_conflict",
            )

    def _live_conflicts(self) -> Iterator[tuple[models.UniqueConstraint, models.Model]]:
        live = type(self)._default_manager.filter(LIVE).exclude(pk=self.pk)
        for constraint in live_unique_constraints(type(self)):
            values = {name: getattr(self, name) for name in constraint.fields}
            if None in values.values():
                continue
            row = live.filter(constraint.condition, **values).first()
            if row is not None:
                yield constraint, row


def label(field: Any) -> str:
    return str(field.verbose_name)


def live_unique_constraints(model: type[models.Model]) -> Sequence[models.UniqueConstraint]:
    return [
        constraint
        for constraint in model._meta.constraints
        if isinstance(constraint, models.UniqueConstraint) and constraint.condition is not None
    ]


def unique_among_live(*fields: str, name: str, message: str, when: models.Q | None = None) -> models.UniqueConstraint:
    """A unique constraint among live rows, so that the values of deleted rows can be used again. `when` narrows it."""
    return models.UniqueConstraint(
        fields=fields,
        condition=LIVE & when if when is not None else LIVE,
        name=name,
        violation_error_code="unique",
        violation_error_message=message,
    )
