"""Forms about tiers."""

from __future__ import annotations

from typing import Any

from django import forms

from config.base.text import counted
from tiers.models import Tier


class EmptyTierForm(forms.Form):
    """What to do with those who use a tier that is to be deleted: the questions that its use raises, no others."""

    move_users_to = forms.ModelChoiceField(queryset=Tier.objects.none(), empty_label="Choose a tier")
    delete_limits = forms.BooleanField()

    def __init__(self, *args: Any, tier: Tier, users: int, limits: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["move_users_to"].queryset = Tier.objects.live().exclude(pk=tier.pk)  # type: ignore[attr-defined]
        self.fields["move_users_to"].label = f"Move {counted(users, 'account')} to"
        self.fields["delete_limits"].label = f"Delete {counted(limits, 'rate limit')} of this tier"
        if not users:
            del self.fields["move_users_to"]
        if not limits:
            del self.fields["delete_limits"]
