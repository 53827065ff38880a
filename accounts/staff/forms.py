from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from accounts.models import User
from accounts.rights import protected_fields
from config.base.actions import ActionForm
from config.base.forms import LiveChoicesForm
from config.base.stale import EditForm, StaleGuard
from ratelimits.pages.forms import MatchForm
from ratelimits.rules import owner_of_user
from tiers.models import Tier


class UserForm(LiveChoicesForm):
    class Meta:
        model = User
        fields = ("name", "username", "email", "tier")
        widgets = {
            "name": forms.TextInput(attrs={"autocomplete": "off"}),
            "username": forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
            "email": forms.EmailInput(attrs={"autocomplete": "off"}),
        }

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        tier: Any = self.fields["tier"]
        tier.empty_label = "No tier (the default limit applies)"
        if self.instance.pk is None:
            tier.initial = Tier.objects.default()


class UserEditForm(EditForm, UserForm):
    def __init__(self, *args: Any, actor: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        email = self.fields["email"]
        email.disabled = "email" in protected_fields(actor, self.instance)
        if not email.disabled:
            email.help_text = "A new address has to be verified. The old one gets a notice."
        elif actor.pk == self.instance.pk:
            email.help_text = "Change your own address on your account pages."
        else:
            email.help_text = "Only superusers and the users themselves can change an address."


class TierForm(StaleGuard, ActionForm):
    tier = forms.ModelChoiceField(
        Tier.objects.live(), required=False, empty_label="No tier (the default limit applies)", label="New tier"
    )

    def __init__(self, data: Any, *, row: User) -> None:
        super().__init__(data, row=row, initial={"tier": row.tier_id})

    @property
    def opened_row(self) -> Any:
        return self.row


class EraseForm(ActionForm):
    username = forms.CharField(
        label="Username",
        max_length=32,
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )

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
        elif not self.errors and data.get("tier") is None:
            raise ValidationError("Choose a tier or enter a user.")
        return data
