"""What the sign-in pages need beyond the common tags."""

from __future__ import annotations

import json
from typing import Any

from django import template
from django.core.serializers.json import DjangoJSONEncoder

register = template.Library()


@register.filter
def as_json(value: Any) -> str:
    """For a data attribute: unlike json_script's, no script element, which the pages do without."""
    return json.dumps(value, cls=DjangoJSONEncoder)
