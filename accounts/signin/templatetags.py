"""What the sign-in pages need beyond the common tags."""

from __future__ import annotations

import json
from typing import Any

from django import template
from django.core.serializers.json import DjangoJSONEncoder

register = template.Library()

# The first that matches: most browsers claim to be several others too.
BROWSERS = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


@register.filter
def as_json(value: Any) -> str:
    """For a data attribute: unlike json_script's, no script element, which the pages do without."""
    return json.dumps(value, cls=DjangoJSONEncoder)


@register.filter
def browser(user_agent: str) -> str:
    """“Firefox on Linux” from a User-Agent header; one that is none of the common browsers as it is, shortened."""
    name = next((name for mark, name in BROWSERS if mark in user_agent), "")
    system = next((system for mark, system in SYSTEMS if mark in user_agent), "")
    return f"{name} on {system}" if name and system else user_agent[:40] or "Unknown"
