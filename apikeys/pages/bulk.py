"""One change to many keys: a page that shows which, says what will happen, and asks once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from accounts.rights import why_not_change
from apikeys import services
from apikeys.models import APIKey, APIKeyQuerySet
from apikeys.pages.desks import StaffDesk
from apikeys.pages.hygiene import problem, unexercised_permissions
from apikeys.usage.analytics import Scope, TimeRange, totals
from config.base.admin_soft_delete import MOST_AT_ONCE
from config.base.text import counted
from config.base.validators import validate_name

VERBS = (
    ("disable", "Disable"),
    ("revoke", "Revoke for good"),
    ("expire", "Let expire in 30 days"),
    ("trim", "Remove permissions never exercised"),
)
NOTICE_PERIOD = timedelta(days=30)
MOST_NAMED = 50


class IdsInput(forms.HiddenInput):
    def value_from_datadict(self, data: Any, files: Any, name: str) -> str:
        return ",".join(data.getlist(name))


class IdsField(forms.CharField):
    """Ids of keys, from ticked boxes or in one field: Django refuses a form of more than a thousand fields."""

    widget = IdsInput

    def prepare_value(self, value: Any) -> Any:
        return ",".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        try:
            return [UUID(part) for part in str(value or "").split(",") if part]
        except ValueError:
            raise ValidationError("One of the ids is none.") from None

    def run_validators(self, value: Any) -> None:
        if len(value) > MOST_AT_ONCE:
            raise ValidationError(f"At most {MOST_AT_ONCE:,} keys at once.")


class BulkForm(forms.Form):
    verb = forms.ChoiceField(choices=VERBS, widget=forms.HiddenInput)
    keys = IdsField(required=False)
    # The name of a list of the hygiene page: all keys on it, not just those of the page shown.
    whole = forms.CharField(max_length=30, required=False)
    reason = forms.CharField(
        max_length=255,
        required=False,
        validators=[validate_name],
        help_text="Stays with each key, for whoever asks later why it stopped.",
    )
    confirmed = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("confirmed") and data.get("verb") == "revoke" and data.get("reason") == "":
            self.add_error("reason", "Enter a reason. It's kept in the keys' history.")
        return data


def revoke(desk: StaffDesk, key: APIKey, data: dict[str, Any]) -> None:
    services.revoke_key(key, desk.author, reason=data["reason"])


def disable(desk: StaffDesk, key: APIKey, data: dict[str, Any]) -> None:
    services.set_enabled(key, desk.author, enabled=False)


def expire(desk: StaffDesk, key: APIKey, data: dict[str, Any]) -> None:
    services.shorten_expiry(key, desk.author, expires_at=timezone.now() + NOTICE_PERIOD)


def trim(desk: StaffDesk, key: APIKey, data: dict[str, Any]) -> None:
    with transaction.atomic():
        services.lock(key)
        idle = {permission.pk for permission in unexercised_permissions([key.pk]).get(key.pk, [])}
        kept = [(row.action, row.resource) for row in key.permissions.all() if row.pk not in idle]
        services.edit_key(key, desk.author, permissions=kept)


ACTS: dict[str, Callable[[StaffDesk, APIKey, dict[str, Any]], None]] = {
    "revoke": revoke,
    "disable": disable,
    "expire": expire,
    "trim": trim,
}
# What `APIKey.actions` calls them.
STEPS = {"revoke": "revoke", "disable": "disable", "expire": "expire", "trim": "edit"}
# What the answer says of the keys: “3 keys are revoked.”
DONE = {"revoke": "revoked", "disable": "disabled", "expire": "to expire in 30 days", "trim": "trimmed"}


def bulk_page(desk: StaffDesk, form: BulkForm) -> HttpResponse:
    """Preview the change that `form` asks for, or make it if it is confirmed."""
    if form.is_bound and not form.is_valid() and {"verb", "keys"} & form.errors.keys():
        messages.error(desk.request, "Choose keys and what to do with them.")
        return redirect(desk.url("list"))
    source = form.cleaned_data if form.is_bound else form.initial
    desk.check_may_take(source["verb"])
    keys = list(chosen_keys(desk, source).select_related("user").order_by("name", "pk")[:MOST_AT_ONCE])
    if form.is_bound and form.is_valid() and form.cleaned_data["confirmed"]:
        return carry_out(desk, form.cleaned_data, keys)
    return preview(desk, form, source["verb"], keys)


def chosen_keys(desk: StaffDesk, source: Mapping[str, Any]) -> APIKeyQuerySet:
    whole = problem(source.get("whole", ""))
    return whole.keys() if whole is not None else desk.keys().filter(pk__in=source["keys"])


def preview(desk: StaffDesk, form: BulkForm, verb: str, chosen: Sequence[APIKey]) -> HttpResponse:
    keys = [key for key in chosen if STEPS[verb] in key.actions]
    pks = [key.pk for key in keys]
    month = TimeRange.of_last_days(30)
    used = sum(totals(Scope(keys=tuple(pks[at : at + 500])), month).allowed for at in range(0, len(pks), 500))
    label = dict(VERBS)[verb]
    shown = (
        BulkForm(initial={"verb": verb, "keys": [key.pk for key in chosen], "confirmed": True})
        if not form.errors
        else form
    )
    idle = unexercised_permissions(pks) if verb == "trim" else {}
    return desk.page(
        "apikeys/pages/bulk.html",
        400 if form.errors else 200,
        form=shown,
        verb=verb,
        label=label,
        rows=[(key, idle.get(key.pk, [])) for key in keys[:MOST_NAMED]],
        count=len(keys),
        unfit=len(chosen) - len(keys),
        more=max(0, len(keys) - MOST_NAMED),
        holders=len({key.user_id for key in keys}),
        used=used,
        title=f"{label}: {counted(len(keys), 'key')}",
    )


def carry_out(desk: StaffDesk, data: dict[str, Any], keys: Sequence[APIKey]) -> HttpResponse:
    """Change key by key, each in its own transaction: what cannot be changed is told, and holds nothing else up."""
    done, refused = 0, []
    for key in keys:
        try:
            refuse_foreign(desk, key)
            ACTS[data["verb"]](desk, key, data)
            done += 1
        except ValidationError as error:
            refused.append(f"{key}: {' '.join(error.messages)}")
    if done:
        messages.success(desk.request, f"{counted(done, 'key is', 'keys are')} {DONE[data['verb']]}.")
    if refused:
        text = f"{counted(len(refused), 'key')} could not be changed. {' '.join(refused[:5])}"
        messages.warning(desk.request, text)
    return redirect(desk.url("list"))


def refuse_foreign(desk: StaffDesk, key: APIKey) -> None:
    reason = why_not_change(desk.request.user, key.user)  # type: ignore[arg-type]  # admin_view lets only staff in
    if reason:
        raise ValidationError(reason)
