"""Case-insensitive search in names, through a second column with the normal form of the first.

SQLite folds only ASCII letters, and PostgreSQL neither ß nor full-width letters, so Python computes the form on every write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any

from django.apps.registry import Apps
from django.db import DatabaseError, migrations, models, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models.lookups import Contains
from django.db.models.signals import pre_save

from config.base.text import search_form

BATCH = 1000


class FoldedField(models.TextField):  # type: ignore[type-arg]
    """The search form of the field `source`; every save and the bulk writes of our querysets update it."""

    def __init__(self, source: str, **options: Any) -> None:
        self.source = source
        kept_aside: dict[str, Any] = {"editable": False, "serialize": False, "blank": True, "db_default": ""}
        super().__init__(**kept_aside | options)

    def deconstruct(self) -> Any:
        name, path, args, options = super().deconstruct()
        return name, path, args, options | {"source": self.source}

    def contribute_to_class(self, cls: type[models.Model], name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only)
        pre_save.connect(self.fill_fixture_row, sender=cls)

    def fill_fixture_row(self, sender: Any, instance: models.Model, raw: bool, **details: Any) -> None:
        # Fixtures are saved without `pre_save()` of their fields.
        if raw:
            self.pre_save(instance, add=False)

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        value = search_form(getattr(model_instance, self.source))
        setattr(model_instance, self.attname, value)
        return value


def folded_fields(model: type[models.Model]) -> list[FoldedField]:
    return [field for field in model._meta.concrete_fields if isinstance(field, FoldedField)]


def with_folded(model: type[models.Model], names: Iterable[str]) -> set[str]:
    names = set(names)
    return names | {field.name for field in folded_fields(model) if field.source in names}


def folded_values(model: type[models.Model], values: Mapping[str, Any]) -> dict[str, str]:
    """The search forms to update along with `values`. Raises TypeError for an expression, whose result is unknown."""
    folded = {}
    for field in folded_fields(model):
        if field.source in values and field.name not in values:
            if not isinstance(values[field.source], str):
                raise TypeError(f"Pass {field.source} as a string, so that its search form can be stored too.")
            folded[field.name] = search_form(values[field.source])
    return folded


class ContainsFolded(Contains):
    """`contains` for a column with normal forms: it normalizes the text first."""

    def get_prep_lookup(self) -> Any:
        form: Callable[[str], str] = getattr(self.lhs.output_field, "normal_form", search_form)
        return form(str(self.rhs))


models.CharField.register_lookup(ContainsFolded, "has")
models.TextField.register_lookup(ContainsFolded, "has")


# --- Migrations ---


def fill_folded(app_label: str, model_name: str) -> migrations.RunPython:
    """Fill the search forms of existing rows in batches. Can be stopped and run again."""

    def fill(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
        model = apps.get_model(app_label, model_name)
        fields = folded_fields(model)
        rows = model._base_manager.using(schema_editor.connection.alias)
        unfilled = rows.filter(models.Q(*((field.name, "") for field in fields), _connector=models.Q.OR)).order_by("pk")
        batch = list(unfilled[:BATCH])
        while batch:
            for row, field in product(batch, fields):
                field.pre_save(row, add=False)
            rows.bulk_update(batch, [field.name for field in fields])
            batch = list(unfilled.filter(pk__gt=batch[-1].pk)[:BATCH])

    return migrations.RunPython(fill, migrations.RunPython.noop)


def create_trigram_indexes(schema_editor: BaseDatabaseSchemaEditor, table: str, indexes: Mapping[str, str]) -> None:
    """Create GIN indexes for substring search on PostgreSQL, by name and expression.

    They need the extension pg_trgm, which the owner of a database can create since PostgreSQL 13. Without it, search still
    works by scanning the table.
    """
    connection = schema_editor.connection
    if connection.vendor != "postgresql":
        return
    try:
        with transaction.atomic(using=connection.alias):
            schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    except DatabaseError:
        return
    for name, expression in indexes.items():
        schema_editor.execute(f'CREATE INDEX IF NOT EXISTS {name} ON "{table}" USING gin ({expression} gin_trgm_ops)')


def drop_trigram_indexes(schema_editor: BaseDatabaseSchemaEditor, indexes: Iterable[str]) -> None:
    if schema_editor.connection.vendor == "postgresql":
        for name in indexes:
            schema_editor.execute(f"DROP INDEX IF EXISTS {name}")


def trigram_indexes(
    table: str, indexes: Mapping[str, str], replaced: Mapping[str, str] | None = None
) -> migrations.RunPython:
    def forwards(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
        drop_trigram_indexes(schema_editor, replaced or ())
        create_trigram_indexes(schema_editor, table, indexes)

    def backwards(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
        drop_trigram_indexes(schema_editor, indexes)
        create_trigram_indexes(schema_editor, table, replaced or {})

    return migrations.RunPython(forwards, backwards)
