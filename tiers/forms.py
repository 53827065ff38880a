"""Forms about tiers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms

from config.base.access import AccessRule, Permission, in_words
from config.base.actions import ActionForm
from config.base.forms import number_input
from config.base.picker import PRESETS, PickerForm
from config.base.stale import ConcurrentChange, EditForm
from config.base.text import counted
from tiers.models import Tier


class TierForm(PickerForm, EditForm):
    """A tier with its access: everything, nothing, or what the picker lists."""

    allow = forms.ChoiceField(
        label="Access", choices=(*PRESETS, ("nothing", "Nothing")), required=False, widget=forms.RadioSelect
    )
    picked = "access"

    class Meta:
        widgets = {"max_keys": number_input("keys"), "max_key_days": number_input("days")}

    def stored(self) -> Iterable[AccessRule]:
        rows: Iterable[AccessRule] = self.instance.access.all()
        return rows

    def preset(self) -> str:
        return super().preset() if self.opened_row is None or self.held() else "nothing"

    def wanted(self, allow: str | None, listed: list[Permission]) -> list[Permission] | None:
        self.validated = in_words(self.held())
        return [] if allow == "nothing" else super().wanted(allow, listed)

    def lock_row(self) -> None:
        super().lock_row()
        if in_words(self.held()) != self.validated:
            raise ConcurrentChange(f"The access of the tier {self.instance.pk} has changed")


class EmptyTierForm(ActionForm):
    """What to do with the users and rate limits of a tier before it's deleted, if it has any."""

    move_users_to = forms.ModelChoiceField(queryset=Tier.objects.none(), empty_label="Choose a tier")
    delete_limits = forms.BooleanField()

    def __init__(self, data: Any = None, *, row: Any = None) -> None:
        super().__init__(data, row=row)
        users, limits = (row.users.live().count(), row.rate_limits.live().count()) if row else (0, 0)
        others = Tier.objects.live().exclude(pk=row.pk if row else None)
        self.fields["move_users_to"].queryset = others  # type: ignore[attr-defined]
        self.fields["move_users_to"].label = f"Move {counted(users, 'user')} to"
        self.fields["delete_limits"].label = f"Delete {counted(limits, 'rate limit')} of this tier"
        if not users:
            del self.fields["move_users_to"]
        if not limits:
            del self.fields["delete_limits"]
