"""The second form of an import of users."""

from __future__ import annotations

from typing import Any

from django import forms

from accounts.staff.imports import USERS
from config.base.import_forms import ColumnsForm
from config.base.tables import Table


class UserColumnsForm(ColumnsForm):
    invite = forms.BooleanField(
        label="Email new users a link to set a password", required=False, help_text="The link works for one day."
    )

    def __init__(self, data: Any, table: Table) -> None:
        super().__init__(data, table, USERS)
