"""What an imported key may do: the permissions of other key stores as ours, and never more than there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from django.core.exceptions import ValidationError

from config.base.access import Permission, validate_resource
from config.base.hosts import WILDCARD, normal_host_pattern

# The starter's actions as ours.
FOREIGN_ACTIONS = {
    "read": ("read",),
    "list": ("read",),
    "create": ("create",),
    "update": ("update",),
    "write": ("create", "update"),
    "delete": ("delete",),
    "*": ("*",),
}
# What the starter's database has for the star.
STARS = {"wildcard": "*"}
# The starter once stored paths with their slashes replaced.
FLAT_PATH = re.compile(r"api_v\d+(_[A-Za-z0-9-]+)*")


class Grant(NamedTuple):
    """A permission as the file has it, and the line it's on. A denied one narrows those that are allowed."""

    line: int
    permission: Permission
    is_allowed: bool = True

    @property
    def rank(self) -> int:
        """If several match a request, the starter uses the one with the lowest rank."""
        return (self.permission.resource == "*") + 2 * (self.permission.action == "*")


@lru_cache(maxsize=4096)
def own_form(given: Permission) -> tuple[Permission, ...]:
    """Our permissions for one of the file. Raises ValidationError with a dict by column."""
    if given.action not in FOREIGN_ACTIONS:
        known = ", ".join(FOREIGN_ACTIONS)
        raise ValidationError({"action": f"“{given.action[:40]}” isn't an action. Use one of {known}."})
    path = own_resource(given.resource)
    try:
        validate_resource(path)
    except ValidationError as error:
        raise ValidationError({"resource": error.messages}) from None
    try:
        host = normal_host_pattern(given.host)
    except ValidationError as error:
        raise ValidationError({"host": error.messages}) from None
    return tuple(Permission(own, path, host) for own in FOREIGN_ACTIONS[given.action])


def own_resource(resource: str) -> str:
    """`api_v1_users` is the path /api/v1/users."""
    return f"/{resource.replace('_', '/')}" if FLAT_PATH.fullmatch(resource) else resource


def allowed(grants: Sequence[Grant]) -> list[Permission]:
    """Raises ValidationError with a dict by column."""
    return list(dict.fromkeys(own for grant in grants if grant.is_allowed for own in own_form(grant.permission)))


def lost_denials(grants: Sequence[Grant]) -> list[tuple[Grant, Grant]]:
    """Denials that narrow a permission, each with it. We have no denials: without them, the key could do more."""
    given = [grant for grant in grants if grant.is_allowed]
    denied = [grant for grant in grants if not grant.is_allowed]
    pairs = ((denial, grant) for denial in denied for grant in given if denial.rank <= grant.rank)
    return [pair for pair in pairs if overlap(pair[0].permission, pair[1].permission)]


def overlap(one: Permission, other: Permission) -> bool:
    """Whether both are about some request. An unknown action is about any."""
    resources, hosts = {one.resource, other.resource}, {one.host, other.host}
    actions, others = (set(FOREIGN_ACTIONS.get(permission.action, "*")) for permission in (one, other))
    return (
        ("*" in resources or len(resources) == 1)
        and (len(hosts) == 1 or any(not host or host.startswith(WILDCARD) for host in hosts))
        and bool("*" in actions | others or actions & others)
    )
