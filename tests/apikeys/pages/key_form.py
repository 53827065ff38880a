"""The data of a key's form in the admin, as a browser sends it."""

from __future__ import annotations


def filled_in(key, *new, stored=None, **changes):
    """The key's current values, its permissions when the page was opened (`stored`; default: all), new ones, and changes."""
    rows = list(key.permissions.order_by("pk")) if stored is None else stored
    data = {"name": key.name, "allowed_ips": "", "rate_limit": "", "rate_period": "", "metadata": "{}"}
    data |= {"permissions-TOTAL_FORMS": len(rows) + len(new), "permissions-INITIAL_FORMS": len(rows)}
    for number, row in enumerate(rows):
        data |= cells(number, key, row.action, row.resource, row.pk)
    for number, (action, resource) in enumerate(new, start=len(rows)):
        data |= cells(number, key, action, resource, "")
    return data | changes


def cells(number, key, action, resource, pk):
    row = {"id": pk, "api_key": key.pk, "action": action, "resource": resource}
    return {f"permissions-{number}-{name}": value for name, value in row.items()}
