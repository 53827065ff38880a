"""The picker of permissions: rows of a resource, a host, and boxes for the actions. templates/base/picker.html draws it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from django import forms
from django.forms.formsets import BaseFormSet, formset_factory

from config.base.access import (
    EVERYTHING,
    FULL_ACCESS,
    MAX_PERMISSIONS,
    MAX_RESOURCE_LENGTH,
    AccessRule,
    Permission,
    in_words,
    validate_resource,
)
from config.base.hosts import MAX_HOST_PATTERN_LENGTH, normal_host_pattern
from config.base.stale import StaleGuard, change_in_words, fingerprint

MAX_ROWS = 60
PRESETS = (("everything", "Everything"), ("listed", "Only these permissions"))


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
        """The permissions, without duplicates and those that another one covers. Only call this if the picker is valid."""
        return without_covered(permission for form in self.forms for permission in form.permissions())


Picker = cast(
    type[BasePicker],
    formset_factory(PickerRow, BasePicker, extra=3, max_num=MAX_ROWS, absolute_max=MAX_PERMISSIONS, validate_max=True),
)


def without_covered(permissions: Iterable[Permission]) -> list[Permission]:
    """Remove duplicates and covered ones: “*” covers all other actions on the same resource and host."""
    distinct = dict.fromkeys(permissions)
    return [item for item in distinct if item.action == "*" or item._replace(action="*") not in distinct]


def rows_of(permissions: Iterable[Permission]) -> list[dict[str, Any]]:
    """The rows that show these."""
    rows: dict[tuple[str, str], list[str]] = {}
    for action, resource, host in permissions:
        rows.setdefault((resource, host), []).append(action)
    return [{"resource": resource, "host": host, "actions": actions} for (resource, host), actions in rows.items()]


def replace_value(form: forms.BaseForm, name: str, value: str) -> None:
    """Give a field of a bound form another value, so that the form can be sent again."""
    data: Any = form.data.copy()  # type: ignore[attr-defined]
    data[name] = value
    form.data = data


class PickerForm(StaleGuard, forms.Form):
    """Chooses everything, or the permissions listed in the picker.

    After validation, `permissions` are those to store, None if they stay as they are.
    """

    allow = forms.ChoiceField(label="Permissions", choices=PRESETS, required=False, widget=forms.RadioSelect)

    # `_merge_permissions` guards it together with the picker.
    unguarded = frozenset({"allow"})
    # The name of the permissions in the history and of their inputs.
    picked = "permissions"
    permissions: list[Permission] | None = None

    def __init__(self, data: Any = None, *args: Any, **options: Any) -> None:
        super().__init__(data, *args, **options)
        self.initial["allow"] = self.preset()
        # Scripts may leave the picker out.
        self.has_picker = data is not None and f"{self.picked}-TOTAL_FORMS" in data
        self.picker = self.new_picker(data if self.has_picker else None)

    def stored(self) -> Iterable[AccessRule]:
        """The rows of what is edited."""
        raise NotImplementedError

    def preset(self) -> str:
        return "everything" if self.opened_row is None or set(FULL_ACCESS) & set(self.held()) else "listed"

    def new_picker(self, data: Any = None) -> BasePicker:
        held = self.held() if self["allow"].initial == "listed" else []
        return Picker(data, prefix=self.picked, initial=rows_of(held))

    def fingerprints(self) -> dict[str, str]:
        return super().fingerprints() | {self.picked: fingerprint([in_words(self.held())])}

    def held(self) -> list[Permission]:
        return without_covered(row.permission for row in self.stored()) if self.opened_row is not None else []

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        self._clean_picker(data.get("allow"))
        return data

    def _clean_picker(self, allow: str | None) -> None:
        if self.has_picker and not self.picker.is_valid():
            self.add_error("allow", "Correct the permissions below.")
            return
        listed = self.picker.permissions() if self.has_picker else []
        if allow != "listed" and listed and allow:
            chosen = dict(self.fields["allow"].choices)[allow]  # type: ignore[attr-defined]
            self.add_error("allow", f"You listed permissions and chose “{chosen}”. Choose one of the two.")
        elif allow == "listed" and not listed:
            self.add_error("allow", "List at least one permission. Without any, all requests are denied.")
        self.permissions = self.wanted(allow, listed)
        if self.opened_row is not None and self.permissions is not None:
            self._merge_permissions(in_words(self.permissions))

    def wanted(self, allow: str | None, listed: list[Permission]) -> list[Permission] | None:
        everything = allow == "everything" or self.opened_row is None
        return listed or ([EVERYTHING] if everything else None)

    def _merge_permissions(self, wanted: str) -> None:
        """Like `merge` for a field."""
        held = in_words(self.held())
        was = self.was.fields.get(self.picked) if self.was else None
        if wanted == held:
            self.permissions = None
        elif was not in {None, fingerprint([held])}:
            if was != fingerprint([wanted]):
                self.add_error("allow", change_in_words(cast("Any", self.opened_row), self.picked, held))
                return
            self.permissions = None
            replace_value(self, "allow", self["allow"].initial)
            self.picker = self.new_picker()
