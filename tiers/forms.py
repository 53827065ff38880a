"""Forms about tiers."""

from __future__ import annotations

from typing import Any

from django import forms

from config.base.text import counted
from tiers.models import Tier


class EmptyTierForm(forms.Form):
    """What to do with the users and rate limits of a tier before it's deleted; a tier without them needs no answers."""

    move_users_to = forms.ModelChoiceField(queryset=Tier.objects.none(), empty_label="Choose a tier")
    delete_limits = forms.BooleanField()

    def __init__(self, *args: Any, tier: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        users, limits = tier.users.live().count(), tier.rate_limits.live().count()
        self.fields["move_users_to"].queryset = Tier.objects.live().exclude(pk=tier.pk)  # type: ignore[attr-defined]
        self.fields["move_users_to"].label = f"Move {counted(users, 'user')} to"
        self.fields["delete_limits"].label = f"Delete {counted(limits, 'rate limit')} of this tier"
        if not users:
            del self.fields["move_users_to"]
        if not limits:
            del self.fields["delete_limits"]
