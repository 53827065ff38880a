"""Undo of edits, whose former values the history has."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction

from config.base.actions import Action, ActionOutcome
from config.base.history import Author
from config.base.undo import FORMER, Operation, put_back


class PutBack(Action):
    """Only to undo an edit: restores each row's previous values."""

    name, label, done, matching = FORMER, "Change back", "{} changed back.", "live"

    def perform(self, rows: Any, author: Author, data: dict[str, Any]) -> ActionOutcome:
        outcome = ActionOutcome()
        for row in rows:
            try:
                with transaction.atomic():
                    self.put_back(self.locked(row), author, data["operation"])
            except ValidationError as error:
                outcome.refused.extend(error.messages)
            else:
                outcome.done += 1
        return outcome

    def locked(self, row: Any) -> Any:
        return type(row)._default_manager.select_for_update(no_key=True).get(pk=row.pk)

    def put_back(self, row: Any, author: Author, operation: Operation) -> None:
        put_back(row, operation.former_of(row), author)
