"""What may be done, and where: an action on a resource at a host. Permissions of keys and the access of tiers list these."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from django.core.exceptions import ValidationError
from django.db import models

from config.base.hosts import HostPatternField
from config.base.models import TimestampedModel
from config.base.patterns import validate_pattern
from config.base.text import quoted

MAX_RESOURCE_LENGTH = 255
# The most rules of one key or tier, because each request reads all of them.
MAX_PERMISSIONS = 200
RESOURCE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")


class Permission(NamedTuple):
    action: str
    resource: str
    host: str = ""

    def __str__(self) -> str:
        return f"{self.action} {self.resource} at {self.host}" if self.host else f"{self.action} {self.resource}"

    @classmethod
    def parse(cls, text: str) -> Permission:
        """The permission that `str` writes like this. Raises ValidationError."""
        match text.split():
            case [action, resource]:
                return cls(action, resource)
            case [action, resource, "at", host]:
                return cls(action, resource, host)
        raise ValidationError(
            f"{quoted(text)} isn't an action and a resource, for example read /orders/* or read /orders at api.example.com."
        )


EVERYTHING = Permission("*", "*")
# Permissions that allow any action on any path, at any host.
FULL_ACCESS = (EVERYTHING, Permission("*", "/*"))


def in_words(permissions: Iterable[Permission]) -> str:
    """“read /orders/*, read /reports/* at api.example.com”, “everything”, “nothing”."""
    permissions = list(permissions)
    if set(permissions) & set(FULL_ACCESS):
        return "everything"
    return ", ".join(sorted(map(str, permissions))) or "nothing"


def validate_resource(resource: str) -> None:
    if resource.startswith("/"):
        validate_pattern(resource)
    elif resource != "*" and not RESOURCE_NAME.fullmatch(resource):
        raise ValidationError(
            f"{quoted(resource)} isn't a valid resource. Enter a path such as /orders/* or a name such as orders.",
            code="invalid_resource",
        )
    if len(resource) > MAX_RESOURCE_LENGTH:
        raise ValidationError(
            f"A resource can have at most {MAX_RESOURCE_LENGTH} characters.", code="resource_too_long"
        )


class AccessRule(TimestampedModel):
    """A permission as a row."""

    class Action(models.TextChoices):
        READ = "read", "Read"
        CREATE = "create", "Create"
        UPDATE = "update", "Update"
        DELETE = "delete", "Delete"
        ANY = "*", "Everything"

    action = models.CharField(max_length=10, choices=Action)
    resource = models.CharField(
        max_length=MAX_RESOURCE_LENGTH,
        help_text="A path such as /orders/* or a name such as orders. /* and * mean everything.",
    )
    host = HostPatternField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return str(self.permission)

    def clean(self) -> None:
        super().clean()
        try:
            validate_resource(self.resource)
        except ValidationError as error:
            raise ValidationError({"resource": error}) from None

    @property
    def permission(self) -> Permission:
        return Permission(self.action, self.resource, self.host)

    @property
    def is_everything(self) -> bool:
        return self.permission in FULL_ACCESS


def known_action(name: str) -> models.CheckConstraint:
    return models.CheckConstraint(
        condition=models.Q(action__in=["read", "create", "update", "delete", "*"]),
        name=name,
        violation_error_message="Choose read, create, update, delete or *.",
    )
