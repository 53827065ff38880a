"""The forms about keys, for owners and staff."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils import timezone

from accounts.models import User
from accounts.rights import why_not_change
from apikeys.fields import ExpiryField, NetworksField
from apikeys.models import KEY_WINDOWS, APIKey
from apikeys.secrets import is_well_formed
from apikeys.validators import normalize_metadata, normalize_name
from config.base.access import AccessRule
from config.base.actions import ActionForm
from config.base.forms import DayInput, StrictJSONField, number_input
from config.base.models import uuid7
from config.base.periods import PeriodFormField
from config.base.picker import PickerForm, replace_value
from config.base.text import counted
from config.base.validators import validate_name
from ratelimits.models import MAX_LIMIT, PERIODS

FORM_SALT = "apikeys.pages.forms.one-key-per-form"
FORM_LIFE = timedelta(days=7)
EXPIRIES = (
    ("30", "30 days"),
    ("90", "90 days"),
    ("365", "1 year"),
    ("never", "Never"),
    ("custom", "On a date"),
)
GRACES = (("0", "Immediately"), ("3600", "After 1 hour"), ("86400", "After 24 hours"), ("604800", "After 7 days"),
          ("2592000", "After 30 days"))  # fmt: skip
SETTINGS = ("name", "allowed_ips", "rate_limit", "rate_window", "rate_period")


class KeyForm(PickerForm):
    """What owners and staff enter, to create a key and to edit it. `key` is None for a new one."""

    field_order = ("owner", "name", "expiry", "expires_at")  # as on the page, where they are above the permissions
    # The fields that are stored as they are.
    stored_fields: Sequence[str] = SETTINGS

    name = forms.CharField(
        max_length=100,
        validators=[validate_name],
        help_text="What the key is for, for example “nightly export”.",
        error_messages={"required": "Enter a name, for example what the key is for."},
    )
    allowed_ips = NetworksField(
        label="Allowed addresses",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "placeholder": "192.0.2.0/24"}),
        help_text="IPv4 or IPv6 addresses or networks, one per line. Leave empty for any address.",
    )
    rate_limit = forms.IntegerField(
        label="Rate limit",
        required=False,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_LIMIT)],
        widget=number_input("requests"),
        help_text="Per period, in addition to the owner's rate limits. Leave empty for none.",
    )
    rate_window = forms.ChoiceField(
        label="Window",
        choices=KEY_WINDOWS,
        required=False,
        help_text="Rolling spreads requests evenly. Weeks begin on Monday, months on the owner's billing day.",
    )
    rate_period = PeriodFormField(
        label="Period", required=False, help_text="Up to 31 days. Weeks and months ignore it."
    )

    def __init__(self, data: Any = None, *, key: APIKey | None = None, **options: Any) -> None:
        self.key = key
        options.setdefault("initial", self.initial_for(key))
        super().__init__(data, **options)

    @property
    def opened_row(self) -> APIKey | None:
        return self.key

    def stored(self) -> Iterable[AccessRule]:
        return self.key.permissions.all() if self.key is not None else ()

    def initial_for(self, key: APIKey | None) -> dict[str, Any]:
        if key is None:
            return {"expiry": "90"}
        return {name: getattr(key, name) for name in self.stored_fields}

    def clean_name(self) -> str:
        return normalize_name(self.cleaned_data["name"])

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        if not self.errors.keys() & {"rate_limit", "rate_period", "rate_window"}:
            self._set_period(data)
            self._pair_limit(data.get("rate_limit"), data.get("rate_period"))
        return data

    def _set_period(self, data: dict[str, Any]) -> None:
        # Scripts may leave the window out.
        window = data["rate_window"] = data.get("rate_window") or (
            self.key.rate_window if self.key else KEY_WINDOWS[0][0]
        )
        if window in PERIODS:
            data["rate_period"] = None if data.get("rate_limit") is None else PERIODS[window]

    def _pair_limit(self, limit: int | None, period: int | None) -> None:
        if limit is not None and period is None:
            self.add_error("rate_period", "Enter the period of the rate limit, or clear the limit.")
        if period is not None and limit is None:
            self.add_error("rate_limit", "Enter how many requests are allowed per period, or clear the period.")

    def settings(self) -> dict[str, Any]:
        """The values for the services: of an existing key, those that change. `permissions` is None if they don't."""
        changed = {name for name in self.stored_fields if self.key is None or name in self.changed_data}
        if changed & {"rate_limit", "rate_window"}:
            changed.add("rate_period")
        return {name: self.cleaned_data[name] for name in changed} | {"permissions": self.permissions}


class CreateKeyForm(KeyForm):
    expiry = forms.ChoiceField(label="Expires", choices=EXPIRIES, required=False)
    expires_at = ExpiryField(
        label="Last day",
        required=False,
        widget=DayInput(),
        help_text="For “On a date”. The key works until the end of this day, in your time zone.",
    )
    # Holds the id of the key: sent twice, the form creates one.
    form_token = forms.CharField(max_length=400, required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, creator: Any, **options: Any) -> None:
        self.creator = creator
        super().__init__(data, **options)
        if "owner" in self.fields:
            self.order_fields(["owner", *self.fields])
        elif creator.effective_tier is not None and creator.effective_tier.max_key_days is not None:
            self.offer_expiries(within=creator.effective_tier.max_key_days)
        self.initial["form_token"] = signing.dumps([creator.pk, str(uuid7())], salt=FORM_SALT)

    def offer_expiries(self, *, within: int) -> None:
        """within: days."""
        shorter = [(days, label) for days, label in EXPIRIES if days.isdecimal() and int(days) < within]
        longest = (str(within), counted(within, "day"))
        self.fields["expiry"].choices = [*shorter, longest, ("custom", "On a date")]  # type: ignore[attr-defined]
        self.initial["expiry"] = "90" if ("90", "90 days") in shorter else longest[0]

    def clean_form_token(self) -> UUID | None:
        token = self.cleaned_data["form_token"]
        if not token:
            return None
        try:
            creator, key_id = signing.loads(token, salt=FORM_SALT, max_age=FORM_LIFE)
        except signing.BadSignature:
            creator, key_id = None, ""
        if creator != self.creator.pk:
            replace_value(self, "form_token", self.initial["form_token"])
            raise ValidationError("This form was open for too long. Check it and submit it again.", code="stale_form")
        return UUID(key_id)

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        chosen, day = data.get("expiry"), data.get("expires_at")
        if "expires_at" not in self.errors and "expiry" not in self.errors:
            self._clean_expiry(chosen or "", day)
        return data

    def _clean_expiry(self, chosen: str, day: datetime | None) -> None:
        if chosen.isdecimal() and day is None:
            self.cleaned_data["expires_at"] = timezone.now() + timedelta(days=int(chosen))
        elif chosen == "custom" and day is None:
            self.add_error("expires_at", "Choose the last day of the key.")
        elif chosen not in {"custom", ""} and day is not None:
            self.add_error("expiry", "You also entered a date. Choose “On a date”, or clear the date.")
        elif day is not None and day <= timezone.now():
            self.add_error("expires_at", "This is in the past. Choose today or a later day.")

    def settings(self) -> dict[str, Any]:
        fields = super().settings()
        return fields | {"expires_at": self.cleaned_data["expires_at"], "key_id": self.cleaned_data["form_token"]}


class StaffKeyForm(KeyForm):
    metadata = StrictJSONField(
        required=False,
        initial=dict,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono"}),
        help_text="Your notes, as a JSON object. The owner doesn't see them.",
    )
    stored_fields = (*SETTINGS, "metadata")

    def clean_metadata(self) -> dict[str, Any]:
        given = self.cleaned_data["metadata"]
        return normalize_metadata({} if given is None else given)


class StaffCreateKeyForm(StaffKeyForm, CreateKeyForm):
    owner = forms.CharField(
        label="Owner",
        max_length=254,
        help_text="Username or email address.",
        error_messages={"required": "Enter the owner's username or email address."},
    )

    def clean_owner(self) -> User:
        owner: User | None = User.objects.find_by_login(self.cleaned_data["owner"])
        if owner is None:
            raise ValidationError("There is no user with this username or email address.", code="unknown_owner")
        reason = why_not_change(self.creator, owner)
        if reason:
            raise ValidationError(reason, code="forbidden_owner")
        return owner


class RotateForm(ActionForm):
    grace = forms.TypedChoiceField(
        label="The current secret stops working",
        choices=GRACES,
        initial="86400",
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        widget=forms.RadioSelect,
        help_text="Leave enough time to replace it everywhere. It always stops working when the key expires.",
    )
    # The secret when the form was shown: reloading the next page must not rotate the key again.
    current = forms.CharField(max_length=60, required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any, *, row: APIKey) -> None:
        super().__init__(data, row=row, initial={"current": row.shown_as})

    def clean(self) -> dict[str, Any]:
        data, current = super().clean() or {}, self.row.shown_as
        if data.get("current") not in {"", current}:
            replace_value(self, "current", current)
            raise ValidationError(
                f"This key was already rotated, and its new secret ({current}) was shown then. If you didn't save it, "
                f"rotate the key again.",
                code="rotated_already",
            )
        return data | {"key": self.row}


class RevokeForm(ActionForm):
    reason = forms.CharField(
        max_length=255,
        validators=[validate_name],
        help_text="Kept in the key's history.",
        error_messages={"required": "Enter a reason."},
    )


class ExpiryForm(ActionForm):
    expires_at = ExpiryField(
        label="Last day",
        widget=DayInput(),
        help_text="The key works until the end of this day, in your time zone.",
        error_messages={"required": "Choose the last day of the key."},
    )

    def clean_expires_at(self) -> datetime:
        value: datetime = self.cleaned_data["expires_at"]
        if value <= timezone.now():
            raise ValidationError("This is in the past. Choose today or a later day, or revoke the key.")
        if self.row.expires_at is not None and value >= self.row.expires_at:
            raise ValidationError("The key already expires before that. Choose an earlier day.")
        return value


class FindForm(forms.Form):
    secret = forms.CharField(
        max_length=200,
        widget=forms.PasswordInput(attrs={"class": "mono"}),
        help_text="Paste the whole secret. It's neither stored nor logged.",
        error_messages={"required": "Paste the secret."},
    )

    def clean_secret(self) -> str:
        secret: str = self.cleaned_data["secret"]
        if not is_well_formed(secret):
            raise ValidationError("That isn't a valid secret. Paste the whole secret.")
        return secret
