"""Forms about tiers."""

from __future__ import annotations

from typing import Any

from django import forms

from config.base.actions import ActionForm
from config.base.text import counted
from tiers.models import Tier


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
