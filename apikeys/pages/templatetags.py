"""{% load apikeys %}: what other pages show of keys."""

from __future__ import annotations

from typing import Any

from django import template
from django.template.context import Context

from apikeys.models import APIKey
from apikeys.pages.rows import key_rows

register = template.Library()

MOST_KEYS = 50


@register.inclusion_tag("apikeys/keys_of.html", takes_context=True)
def keys_of(context: Context, person: Any) -> dict[str, Any]:
    """{% keys_of person %}: a card with the keys of an account, for its staff page. Shows nothing without the right to."""
    user = context["request"].user
    if not user.has_perm("apikeys.view_apikey"):
        return {"person": None}
    keys = APIKey.objects.live().filter(user=person).select_related("user").prefetch_related("permissions")
    return {
        "person": person,
        "rows": key_rows(keys[:MOST_KEYS]),
        "count": keys.count(),
        "most": MOST_KEYS,
        "may_add": user.has_perm("apikeys.add_apikey") and person.deleted_at is None,
    }
