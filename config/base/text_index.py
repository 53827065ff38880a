"""Substring search on SQLite: an FTS5 table of trigrams, which triggers keep up to date.

SQLite drops the triggers of a table that a migration makes anew, so `repair` creates them again after every `migrate`.
Without FTS5, or without the triggers, search works by scanning the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps.registry import Apps
from django.db import DatabaseError, connections, migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

TRIGGERS = {
    "added": "AFTER INSERT ON {table} BEGIN {add}; END",
    "removed": "AFTER DELETE ON {table} BEGIN {remove}; END",
    "changed": "AFTER UPDATE OF {columns} ON {table} BEGIN {remove}; {add}; END",
}


class TextIndex:
    """The index of some columns of a table whose primary key is the integer `id`."""

    def __init__(self, table: str, columns: Sequence[str]) -> None:
        self.table, self.name, self.columns = f'"{table}"', f"{table}_search", ", ".join(columns)
        new, old = (", ".join(f"{row}.{column}" for column in columns) for row in ("new", "old"))
        self.parts = {
            "table": self.table,
            "columns": self.columns,
            "add": f"INSERT INTO {self.name} (rowid, {self.columns}) VALUES (new.id, {new})",
            "remove": f"INSERT INTO {self.name} ({self.name}, rowid, {self.columns}) VALUES ('delete', old.id, {old})",
        }

    def create(self, using: str) -> None:
        try:
            with transaction.atomic(using=using), connections[using].cursor() as cursor:
                cursor.execute(
                    f"CREATE VIRTUAL TABLE {self.name} USING fts5"
                    f"({self.columns}, content={self.table}, content_rowid='id', tokenize='trigram')"
                )
                self.fill(cursor)
        except DatabaseError:  # without FTS5 or its trigrams
            return

    def fill(self, cursor: Any) -> None:
        for name, body in TRIGGERS.items():
            cursor.execute(f"DROP TRIGGER IF EXISTS {self.name}_{name}")
            cursor.execute(f"CREATE TRIGGER {self.name}_{name} {body.format_map(self.parts)}")
        cursor.execute(f"INSERT INTO {self.name} ({self.name}) VALUES ('rebuild')")

    def drop(self, using: str) -> None:
        with connections[using].cursor() as cursor:
            for name in TRIGGERS:
                cursor.execute(f"DROP TRIGGER IF EXISTS {self.name}_{name}")
            cursor.execute(f"DROP TABLE IF EXISTS {self.name}")

    def repair(self, using: str) -> None:
        connection = connections[using]
        if connection.vendor == "sqlite":
            with transaction.atomic(using=using), connection.cursor() as cursor:
                if 0 < self.objects(cursor) <= len(TRIGGERS):
                    self.fill(cursor)

    def is_complete(self, using: str) -> bool:
        with connections[using].cursor() as cursor:
            return self.objects(cursor) == 1 + len(TRIGGERS)

    def objects(self, cursor: Any) -> int:
        """How many of the table and its triggers there are."""
        names = [self.name, *(f"{self.name}_{name}" for name in TRIGGERS)]
        cursor.execute("SELECT count(*) FROM sqlite_master WHERE name IN (%s, %s, %s, %s)", names)
        return int(cursor.fetchone()[0])

    def find(self, using: str, expression: str, limit: int) -> list[int]:
        """The ids of up to `limit` rows that an expression of FTS5 matches."""
        with connections[using].cursor() as cursor:
            cursor.execute(
                f"SELECT rowid FROM {self.name} WHERE {self.name} MATCH %s LIMIT %s",
                [expression, limit],
            )
            return [pk for (pk,) in cursor.fetchall()]

    def migration(self) -> migrations.RunPython:
        def forwards(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
            if schema_editor.connection.vendor == "sqlite":
                self.create(schema_editor.connection.alias)

        def backwards(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
            if schema_editor.connection.vendor == "sqlite":
                self.drop(schema_editor.connection.alias)

        return migrations.RunPython(forwards, backwards)


def phrase(text: str) -> str:
    """The expression that matches exactly this text."""
    escaped = text.replace('"', '""')
    return f'"{escaped}"'
