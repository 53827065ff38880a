from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.addresses import set_address
from accounts.management.groups import create_groups
from accounts.models import User
from config.base.history import ADDITION, Author
from tiers.models import Tier


class BootstrapError(Exception):
    """The default tier or the first superuser couldn't be created. The message says what to set."""


@dataclass
class Created:
    """What a run created. `password` is empty if it came from ADMIN_PASSWORD."""

    tier: str = ""
    groups: list[str] = field(default_factory=list)
    username: str = ""
    password: str = ""


def bootstrap() -> Created:
    """Create what's missing and keep what exists. Raises BootstrapError."""
    try:
        return create_missing()
    except (BootstrapError, IntegrityError):
        # Another node may have created the same rows at the same time.
        return create_missing()


@transaction.atomic
def create_missing() -> Created:
    created = Created(tier=create_default_tier(), groups=create_groups())
    if not User.objects.live().filter(is_superuser=True).exists():
        create_first_superuser(created)
    return created


def create_default_tier() -> str:
    name = settings.DEFAULT_TIER_NAME
    # Also look for deleted tiers, so that a tier that staff deleted stays deleted.
    if Tier.objects.filter(name=name).exists():
        return ""
    tier = Tier(name=name, description="The tier of new users.")
    try:
        tier.full_clean()
    except ValidationError as error:
        raise BootstrapError(f"Set DEFAULT_TIER_NAME to a valid name. {' '.join(error.messages)}") from error
    tier.save()
    return name


def create_first_superuser(created: Created) -> None:
    created.username = settings.ADMIN_USERNAME or "admin"
    created.password = "" if settings.ADMIN_PASSWORD else secrets.token_urlsafe(15)
    user = User(
        username=created.username,
        email=settings.ADMIN_EMAIL or f"{created.username}@localhost.localdomain",
        name=settings.ADMIN_NAME or "Administrator",
        tier=Tier.objects.default(),
        is_staff=True,
        is_superuser=True,
    )
    user.set_password(settings.ADMIN_PASSWORD or created.password)
    validate_superuser(user)
    user.save()
    set_address(user, verified=True)
    Author(user, via="manage.py bootstrap").record(user, ADDITION, note="First superuser.")


def validate_superuser(user: User) -> None:
    # A taken username is an error, so that no one becomes a superuser by signing up with it first.
    try:
        user.full_clean()
        if settings.ADMIN_PASSWORD:
            validate_password(settings.ADMIN_PASSWORD, user)
    except ValidationError as error:
        raise BootstrapError(
            "The first superuser couldn't be created. Set ADMIN_USERNAME, ADMIN_EMAIL, ADMIN_NAME and ADMIN_PASSWORD to "
            f"valid values that nobody else uses. {' '.join(error.messages)}"
        ) from error
