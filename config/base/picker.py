"""The picker of permissions: rows of a resource, a host, and boxes for the actions. templates/base/picker.html draws it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django import forms
from django.forms.formsets import BaseFormSet, formset_factory

from config.base.access import MAX_PERMISSIONS, MAX_RESOURCE_LENGTH, AccessRule, Permission, validate_resource
from config.base.hosts import MAX_HOST_PATTERN_LENGTH, normal_host_pattern

MAX_ROWS = 60


class PickerRow(forms.Form):
    resource = forms.CharField(
        max_length=MAX_RESOURCE_LENGTH,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "/orders/* or orders", "class": "mono"}),
    )
    host = forms.CharField(
        max_length=MAX_HOST_PATTERN_LENGTH,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "Any host", "class": "mono"}),
    )
    actions = forms.MultipleChoiceField(
        choices=AccessRule.Action.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": "Choose one of the actions shown."},
    )

    def clean_resource(self) -> str:
        resource: str = self.cleaned_data["resource"]
        if resource:
            validate_resource(resource)
        return resource

    def clean_host(self) -> str:
        return normal_host_pattern(self.cleaned_data["host"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        resource, actions = data.get("resource"), data.get("actions")
        if resource and actions == []:
            self.add_error("actions", f"Select at least one action for {resource}, or clear the row.")
        if (actions or data.get("host")) and resource == "":
            self.add_error("resource", "Enter a path such as /orders/* or a name such as orders.")
        return data

    def permissions(self) -> list[Permission]:
        data = self.cleaned_data  # empty for an empty row
        return [Permission(action, data["resource"], data["host"]) for action in data.get("actions", [])]


class BasePicker(BaseFormSet):  # type: ignore[type-arg]
    def permissions(self) -> list[Permission]:
        """Without duplicates and without those that another one covers. Call it only if the picker is valid."""
        return without_covered(permission for form in self.forms for permission in form.permissions())


Picker = cast(
    type[BasePicker],
    formset_factory(PickerRow, BasePicker, extra=3, max_num=MAX_ROWS, absolute_max=MAX_PERMISSIONS, validate_max=True),
)


def without_covered(permissions: Iterable[Permission]) -> list[Permission]:
    """Without duplicates. “*” covers all other actions on the same resource and host."""
    distinct = dict.fromkeys(permissions)
    return [item for item in distinct if item.action == "*" or item._replace(action="*") not in distinct]


def rows_of(permissions: Iterable[Permission]) -> list[dict[str, Any]]:
    """The rows that show these."""
    rows: dict[tuple[str, str], list[str]] = {}
    for action, resource, host in permissions:
        rows.setdefault((resource, host), []).append(action)
    return [{"resource": resource, "host": host, "actions": actions} for (resource, host), actions in rows.items()]
