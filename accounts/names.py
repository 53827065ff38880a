"""How what somebody typed as his name is brought to one form, for look-ups and for counting alike."""

from __future__ import annotations

from accounts.fields import normalize_email


def fold_sign_in_name(typed: str) -> str:
    """The username or e-mail address that `typed` means: no letter case, no full-width forms, no space around it."""
    return normalize_email(typed)
