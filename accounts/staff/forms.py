from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.utils import timezone

from accounts.models import DAY_OF_MONTH, User
from accounts.rights import protected_fields, would_remove_last_superuser
from accounts.services import validate_superuser_remains
from config.base.actions import ActionForm
from config.base.forms import LiveChoicesForm, TimeField, TimeInput
from config.base.permissions import offered_permissions, permission_label
from config.base.stale import ConcurrentChange, EditForm, StaleGuard
from ratelimits.pages.forms import MatchForm
from ratelimits.rules import own_rules_of, owner_of_user
from tiers.models import Tier


def why_not_until(tier: Tier | None, until: datetime | None) -> str:
    """Why a user can't be on the tier until then, as a sentence; empty if they can."""
    if until is not None and until <= timezone.now():
        return "Enter a time in the future."
    return "Choose a tier, or clear this time." if until is not None and tier is None else ""


class PlanForm(LiveChoicesForm):
    """The tier of a user, until when they're on it, and their billing day."""

    class Meta:
        model = User
        fields: Sequence[str] = ("tier", "tier_until", "billing_day")
        field_classes = {"tier_until": TimeField}
        error_messages = {"billing_day": dict.fromkeys(("min_value", "max_value", "invalid"), DAY_OF_MONTH)}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if "billing_day" in self.fields:
            self.fields["billing_day"].required = False  # scripts may leave it out
            self.fields["billing_day"].widget.attrs.update(min=1, max=31)

    def clean_billing_day(self) -> int:
        day: int | None = self.cleaned_data["billing_day"]
        return self.instance.billing_day if day is None else day

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        if {"tier", "tier_until"} & set(self.changed_data) and not {"tier", "tier_until"} & self.errors.keys():
            reason = why_not_until(data.get("tier"), data.get("tier_until"))
            if reason:
                self.add_error("tier_until", reason)
        return data


class UserForm(PlanForm):
    class Meta(PlanForm.Meta):
        fields: Sequence[str] = ("name", "username", "email", *PlanForm.Meta.fields)
        widgets = {"tier_until": TimeInput()}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        tier: Any = self.fields["tier"]
        tier.empty_label = "No tier (the default rate limit applies)"
        if self.instance.pk is None:
            tier.initial = Tier.objects.default()


class UserEditForm(EditForm, UserForm):
    def __init__(self, *args: Any, actor: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        email = self.fields["email"]
        email.disabled = "email" in protected_fields(actor, self.instance)
        if not email.disabled:
            email.help_text = "The new address must be verified. The old one will be notified."
        elif actor.pk == self.instance.pk:
            email.help_text = "Change your own address on your account pages."
        else:
            email.help_text = "Only superusers and the users themselves can change an address."


class PrivilegesForm(EditForm):
    """Doesn't let the last superuser lose their privileges or access."""

    class Meta:
        model = User
        fields: Sequence[str] = ()
        labels = {"is_superuser": "Superuser", "user_permissions": "Permissions"}
        help_texts = {
            "is_superuser": "Can do everything, without any permission below.",
            "groups": "They get the permissions of all their groups.",
            "user_permissions": "In addition to those of their groups.",
        }

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()
        self.removes_superuser = self.instance.is_superuser and any(
            name in self.changed_data and not cleaned.get(name) for name in ("is_active", "is_superuser")
        )
        if self.removes_superuser:
            validate_superuser_remains([self.instance])
        return cleaned

    def lock_parents(self) -> None:
        super().lock_parents()
        if self.removes_superuser and would_remove_last_superuser([self.instance]):
            raise ConcurrentChange(f"Another superuser than {self.instance.pk} has been removed")


class AccessForm(PrivilegesForm):
    class Meta(PrivilegesForm.Meta):
        fields: Sequence[str] = ("is_staff", "is_superuser", "groups", "user_permissions")
        widgets = {"groups": forms.CheckboxSelectMultiple, "user_permissions": forms.CheckboxSelectMultiple}

    def __init__(self, *args: Any, actor: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        permissions: Any = self.fields["user_permissions"]
        permissions.queryset = offered_permissions(admin.site, Q(user=self.instance))
        permissions.label_from_instance = permission_label
        for name in protected_fields(actor, self.instance) & self.fields.keys():
            self.fields[name].disabled = True
            self.fields[name].help_text = "You can't change this for yourself."


class UserTierForm(StaleGuard, ActionForm):
    tier = forms.ModelChoiceField(
        Tier.objects.live(), required=False, empty_label="No tier (the default rate limit applies)", label="New tier"
    )
    tier_until = TimeField(
        required=False,
        widget=TimeInput(),
        label="Tier until",
        help_text="After this, the user moves to the default tier. Leave empty for no end.",
    )

    def __init__(self, data: Any, *, row: User) -> None:
        until = {} if row.tier_until is None or row.tier_has_ended else {"tier_until": row.tier_until}
        super().__init__(data, row=row, initial={"tier": row.tier_id, **until})

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        reason = why_not_until(data.get("tier"), data.get("tier_until")) if "tier" not in self.errors else ""
        if reason:
            self.add_error("tier_until", reason)
        return data

    @property
    def opened_row(self) -> Any:
        return self.row


class EraseForm(ActionForm):
    username = forms.CharField(label="Username", max_length=32)

    def __init__(self, data: Any, *, row: User) -> None:
        super().__init__(data, row=row)
        self.fields["username"].help_text = f"Type {row.username} to confirm."

    def clean_username(self) -> str:
        typed: str = self.cleaned_data["username"]
        if typed != self.row.username:
            raise forms.ValidationError("That isn't this user's username.", code="other_username")
        return typed


class UserMatchForm(MatchForm):
    """A request to test rate limits with, made by a user or on a tier."""

    tier = forms.ModelChoiceField(
        Tier.objects.live(), required=False, empty_label="The user's tier", help_text="Or enter a user below."
    )
    user = forms.CharField(max_length=254, required=False, help_text="Username or email address. Their tier applies.")

    def clean_user(self) -> User | None:
        if not self.cleaned_data["user"]:
            return None
        user: User | None = User.objects.find_by_login(self.cleaned_data["user"])
        if user is None:
            raise ValidationError("There is no user with this username or email address.")
        return user

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        user = data.get("user")
        if user is not None:
            self.owner, data["tier"] = owner_of_user(user.pk), user.effective_tier
            self.own, self.billing_day = own_rules_of(user.pk), user.billing_day
        elif not self.errors and data.get("tier") is None:
            raise ValidationError("Choose a tier or enter a user.")
        return data
