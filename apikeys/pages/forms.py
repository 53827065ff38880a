"""The forms of a key's life, the same for its holder and for staff."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.forms.formsets import BaseFormSet, formset_factory
from django.utils import timezone

from accounts.models import User
from accounts.rights import why_not_change
from apikeys.fields import ExpiryField, NetworksField
from apikeys.models import FULL_ACCESS, APIKey, KeyPermission
from apikeys.secrets import is_well_formed
from apikeys.services import MOST_PERMISSIONS, Permission, in_words
from apikeys.validators import MAX_RESOURCE_LENGTH, normalize_name, validate_resource
from config.base.actions import ActionForm
from config.base.models import uuid7
from config.base.stale import StaleGuard, change_in_words, fingerprint
from config.base.validators import validate_name
from ratelimits.models import MAX_LIMIT, MAX_PERIOD

FORM_SALT = "apikeys.pages.forms.one-key-per-form"
FORM_LIFE = timedelta(days=7)
EXPIRIES = (
    ("30", "30 days"),
    ("90", "90 days"),
    ("365", "1 year"),
    ("never", "Never"),
    ("custom", "On a day I choose"),
)
GRACES = (("0", "At once"), ("3600", "After 1 hour"), ("86400", "After 24 hours"), ("604800", "After 7 days"),
          ("2592000", "After 30 days"))  # fmt: skip
SETTINGS = ("name", "allowed_ips", "rate_limit", "rate_period")
PRESETS = (("everything", "Everything"), ("listed", "Only what is listed"))


def show_anew(form: forms.Form, name: str, value: str) -> None:
    """Show a bound form with another value in a hidden field, so that it can be sent again."""
    data: Any = form.data.copy()  # type: ignore[attr-defined]
    data[name] = value
    form.data = data


def narrowed(actions: list[str]) -> list[str]:
    """“*” goes without the actions that it covers."""
    return ["*"] if "*" in actions else actions


class PermissionForm(forms.Form):
    """One row of the picker: a resource, and what may be done with it."""

    resource = forms.CharField(
        max_length=MAX_RESOURCE_LENGTH,
        required=False,
        widget=forms.TextInput(attrs={"placeholder": "/orders/* or orders", "class": "mono"}),
    )
    actions = forms.MultipleChoiceField(
        choices=KeyPermission.Action.choices,
        required=False,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": "Tick only what is offered."},
    )

    def clean_resource(self) -> str:
        resource: str = self.cleaned_data["resource"]
        if resource:
            validate_resource(resource)
        return resource

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        resource, actions = data.get("resource"), data.get("actions")
        if resource and actions == []:
            self.add_error("actions", f"Tick what may be done with {resource}, or empty the row.")
        if actions and resource == "":
            self.add_error("resource", "Say on what: a path such as /orders/* or a name such as orders.")
        return data

    def pairs(self) -> list[Permission]:
        actions = self.cleaned_data.get("actions", [])
        return [(action, self.cleaned_data["resource"]) for action in narrowed(actions)]


class PermissionRows(BaseFormSet):  # type: ignore[type-arg]
    def pairs(self) -> list[Permission]:
        """The (action, resource) pairs of all filled rows."""
        return list(dict.fromkeys(pair for form in self.forms for pair in form.pairs()))


PermissionFormSet = formset_factory(
    PermissionForm, PermissionRows, extra=3, max_num=60, absolute_max=MOST_PERMISSIONS, validate_max=True
)


def picker_rows(key: APIKey) -> list[dict[str, Any]]:
    """The key's permissions as the picker shows them: one row for each resource."""
    rows: dict[str, list[str]] = {}
    for permission in key.permissions.all():
        rows.setdefault(permission.resource, []).append(permission.action)
    return [{"resource": resource, "actions": actions} for resource, actions in rows.items()]


class KeyForm(StaleGuard, forms.Form):
    """What a key is and may do. `key` is the one that is edited; None for a new one."""

    name = forms.CharField(
        max_length=100,
        validators=[validate_name],
        help_text="What the key is for, for example “nightly export”.",
        error_messages={"required": "Enter a name, for example what the key is for."},
    )
    allow = forms.ChoiceField(label="Permissions", choices=PRESETS, required=False, widget=forms.RadioSelect)
    allowed_ips = NetworksField(
        label="From which addresses",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "class": "mono", "placeholder": "192.0.2.0/24"}),
        help_text="Addresses or networks, IPv4 or IPv6, one a line. Empty: from anywhere.",
    )
    rate_limit = forms.IntegerField(
        label="Own limit",
        required=False,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_LIMIT)],
        widget=forms.TextInput(attrs={"inputmode": "numeric"}),
        help_text="Requests per period for this key alone, beside the limits of the account. Empty: no further limit.",
    )
    rate_period = forms.IntegerField(
        label="Period in seconds",
        required=False,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_PERIOD)],
        widget=forms.TextInput(attrs={"inputmode": "numeric"}),
        help_text="1 to 2,678,400 (31 days). 60 is a minute, 86400 a day.",
    )

    # With the picker, they say together what the key may do.
    unguarded = frozenset({"allow"})

    def __init__(self, data: Any = None, *, key: APIKey | None = None, **options: Any) -> None:
        self.key = key
        options.setdefault("initial", self.initial_for(key))
        super().__init__(data, **options)
        # A script may leave the picker out altogether; then there is nothing in it.
        self.has_picker = data is not None and "permissions-TOTAL_FORMS" in data
        self.picker = PermissionFormSet(
            data if self.has_picker else None, prefix="permissions", initial=self.picker_rows()
        )

    def picker_rows(self) -> list[dict[str, Any]]:
        return picker_rows(self.key) if self.key is not None and self["allow"].initial == "listed" else []

    @property
    def opened_row(self) -> APIKey | None:
        return self.key

    def fingerprints(self) -> dict[str, str]:
        return super().fingerprints() | {"permissions": fingerprint([in_words(self.held())])}

    def held(self) -> list[Permission]:
        """What the key may do now, as the picker shows it."""
        rows = picker_rows(self.key) if self.key is not None else []
        return [(action, row["resource"]) for row in rows for action in narrowed(row["actions"])]

    def initial_for(self, key: APIKey | None) -> dict[str, Any]:
        if key is None:
            return {"allow": "everything", "expiry": "90"}
        everything = any(permission.is_everything for permission in key.permissions.all())
        fields = {name: getattr(key, name) for name in SETTINGS}
        return fields | {"allow": "everything" if everything else "listed"}

    def clean_name(self) -> str:
        return normalize_name(self.cleaned_data["name"])

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors.keys() & {"rate_limit", "rate_period"}:
            self._pair_limit(data.get("rate_limit"), data.get("rate_period"))
        self._clean_picker(data.get("allow"))
        return data

    def _pair_limit(self, limit: int | None, period: int | None) -> None:
        if limit is not None and period is None:
            self.add_error("rate_period", "Say in which period the own limit holds, or empty the limit.")
        if period is not None and limit is None:
            self.add_error("rate_limit", "Say how many requests per period, or empty the period.")

    def _clean_picker(self, allow: str | None) -> None:
        if self.has_picker and not self.picker.is_valid():
            self.add_error("allow", "Correct the list of permissions.")
            return
        pairs = self.picker.pairs() if self.has_picker else []  # type: ignore[attr-defined]
        if allow == "everything" and pairs:
            self.add_error("allow", "You listed permissions but chose everything. Choose one of the two.")
        elif allow == "listed" and not pairs:
            self.add_error("allow", "List what the key may do: without a permission it is refused everywhere.")
        everything = allow == "everything" or self.key is None
        self.permissions: list[Permission] | None = pairs or ([FULL_ACCESS[0]] if everything else None)
        if self.key is not None and self.permissions is not None:
            self._merge_permissions(self.key, in_words(self.permissions))

    def _merge_permissions(self, key: APIKey, wanted: str) -> None:
        """As `merge` does it with a field."""
        held = in_words(self.held())
        was = self.was.fields.get("permissions") if self.was else None
        if wanted == held:
            self.permissions = None
        elif was not in {None, fingerprint([held])}:
            if was != fingerprint([wanted]):
                self.add_error("allow", change_in_words(key, "permissions", held))
                return
            self.permissions = None
            show_anew(self, "allow", self["allow"].initial)
            self.picker = PermissionFormSet(None, prefix="permissions", initial=self.picker_rows())

    def settings(self) -> dict[str, Any]:
        """The checked values for the services, of a key that is there those that change; `permissions` is None where they
        stay as they are.
        """
        changed = SETTINGS if self.key is None else [name for name in SETTINGS if name in self.changed_data]
        return {name: self.cleaned_data[name] for name in changed} | {"permissions": self.permissions}


class CreateKeyForm(KeyForm):
    expiry = forms.ChoiceField(label="Expires", choices=EXPIRIES, required=False)
    expires_at = ExpiryField(
        label="Last day",
        required=False,
        widget=forms.TextInput(attrs={"type": "date"}),
        help_text="For “on a day I choose”: the key works until this day ends, in UTC.",
    )
    # Names the key that this form will make. Sent twice, it makes one key.
    form_token = forms.CharField(max_length=400, required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any = None, *, maker: Any, **options: Any) -> None:
        self.maker = maker
        super().__init__(data, **options)
        if "owner" in self.fields:
            self.order_fields(["owner", *self.fields])
        self.initial["form_token"] = signing.dumps([maker.pk, str(uuid7())], salt=FORM_SALT)

    def clean_form_token(self) -> UUID | None:
        token = self.cleaned_data["form_token"]
        if not token:
            return None
        try:
            maker, key_id = signing.loads(token, salt=FORM_SALT, max_age=FORM_LIFE)
        except signing.BadSignature:
            maker, key_id = None, ""
        if maker != self.maker.pk:
            # The form is shown again with a token of its own: sending it once more works.
            show_anew(self, "form_token", self.initial["form_token"])
            raise ValidationError("This form was open for too long. Look it over and send it again.", code="stale_form")
        return UUID(key_id)

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        chosen, day = data.get("expiry"), data.get("expires_at")
        if "expires_at" not in self.errors and "expiry" not in self.errors:
            self._clean_expiry(chosen or "", day)
        return data

    def _clean_expiry(self, chosen: str, day: datetime | None) -> None:
        if chosen in {"30", "90", "365"} and day is None:
            self.cleaned_data["expires_at"] = timezone.now() + timedelta(days=int(chosen))
        elif chosen == "custom" and day is None:
            self.add_error("expires_at", "Choose the last day on which the key works.")
        elif chosen not in {"custom", ""} and day is not None:
            self.add_error("expiry", "You gave a day as well. Choose “on a day I choose”, or empty the day.")
        elif day is not None and day <= timezone.now():
            self.add_error("expires_at", "This lies in the past. Choose a day from today on.")

    def settings(self) -> dict[str, Any]:
        fields = super().settings()
        return fields | {"expires_at": self.cleaned_data["expires_at"], "key_id": self.cleaned_data["form_token"]}


class StaffCreateKeyForm(CreateKeyForm):
    """A key for the account that is named; its rights are checked like those of any change to that account."""

    owner = forms.CharField(
        label="For the account",
        max_length=254,
        help_text="Username or e-mail address of the holder.",
        error_messages={"required": "Say for whom the key is: a username or an e-mail address."},
    )

    def clean_owner(self) -> User:
        owner: User | None = User.objects.find_by_login(self.cleaned_data["owner"])
        if owner is None:
            raise ValidationError("There is no live account with this username or address.", code="unknown_owner")
        reason = why_not_change(self.maker, owner)
        if reason:
            raise ValidationError(reason, code="forbidden_owner")
        return owner


class RotateForm(ActionForm):
    grace = forms.TypedChoiceField(
        label="The old secret stops working",
        choices=GRACES,
        initial="86400",
        coerce=lambda seconds: timedelta(seconds=int(seconds)),
        widget=forms.RadioSelect,
        help_text="Long enough to put the new secret everywhere, and never beyond the expiry of the key.",
    )
    # The secret that the person saw when he decided: a reload of the answer must not rotate again.
    current = forms.CharField(max_length=60, required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any, *, row: APIKey) -> None:
        super().__init__(data, row=row, initial={"current": row.shown_as})

    def clean(self) -> dict[str, Any]:
        data, current = super().clean() or {}, self.row.shown_as
        if data.get("current") not in {"", current}:
            show_anew(self, "current", current)
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
        help_text="Stays with the key, for whoever asks later why it stopped.",
        error_messages={"required": "Enter a reason. It's kept in the key's history."},
    )


class ExpiryForm(ActionForm):
    expires_at = ExpiryField(
        label="Last day",
        widget=forms.TextInput(attrs={"type": "date"}),
        help_text="The key works until this day ends, in UTC. An expiry can be brought forward, never put off.",
        error_messages={"required": "Choose the last day on which the key works."},
    )

    def clean_expires_at(self) -> datetime:
        value: datetime = self.cleaned_data["expires_at"]
        if value <= timezone.now():
            raise ValidationError("This lies in the past. Choose a day from today on, or revoke the key.")
        if self.row.expires_at is not None and value >= self.row.expires_at:
            raise ValidationError("The key expires before that already. An expiry can only be brought forward.")
        return value


class FindForm(forms.Form):
    """A key by its secret, which is neither logged, kept nor shown again."""

    secret = forms.CharField(
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "class": "mono"}),
        help_text="Pasted whole. It is compared by its hash, and neither kept nor logged.",
        error_messages={"required": "Paste the secret of the key."},
    )

    def clean_secret(self) -> str:
        secret: str = self.cleaned_data["secret"]
        if not is_well_formed(secret):
            raise ValidationError("This is no secret of ours: its form or its checksum is wrong. Paste it whole.")
        return secret
