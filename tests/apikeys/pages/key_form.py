"""The form data of a key's page in the admin, as a browser sends it."""

from __future__ import annotations

from config.base.access import Permission
from config.base.picker import rows_of


def filled_in(key, *new, **changes):
    """The key's current values with additional permissions, given as (action, resource), and changes."""
    current = [row.permission for row in key.permissions.order_by("pk")]
    rows = rows_of([*current, *(Permission(*permission) for permission in new)])
    data = {"name": key.name, "allowed_ips": "", "rate_limit": "", "rate_period": "", "metadata": "{}"}
    data |= {"allow": "listed", "permissions-TOTAL_FORMS": len(rows), "permissions-INITIAL_FORMS": len(rows)}
    for number, row in enumerate(rows):
        data |= {f"permissions-{number}-{name}": value for name, value in row.items()}
    return data | changes
