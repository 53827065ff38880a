"""What a fresh installation needs before anyone can sign in: the default tier, the staff groups, the first superuser."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.addresses import set_address
from accounts.management.groups import bootstrap_groups
from accounts.models import User
from config.base.history import ADDITION, Author
from tiers.models import Tier


class BootstrapRefused(Exception):
    """Raised when the default tier or the first superuser cannot be made; says what to set."""


@dataclass
class Bootstrapped:
    """What a run made: nothing on the second one. `password` is set only when it was generated."""

    tier: str = ""
    groups: list[str] = field(default_factory=list)
    username: str = ""
    password: str = ""


@transaction.atomic
def bootstrap() -> Bootstrapped:
    """Make what is missing; never changes, promotes or re-creates what is there. Raises BootstrapRefused."""
    done = Bootstrapped(tier=make_default_tier(), groups=bootstrap_groups())
    if not User.objects.live().filter(is_superuser=True).exists():
        make_first_superuser(done)
    return done


def make_default_tier() -> str:
    """Create the tier called DEFAULT_TIER_NAME unless there ever was one: a tier that staff deleted stays deleted."""
    name = settings.DEFAULT_TIER_NAME
    if Tier.objects.filter(name=name).exists():
        return ""
    tier = Tier(name=name, description="What every new account starts on.")
    try:
        tier.full_clean()
    except ValidationError as error:
        raise BootstrapRefused(f"Set DEFAULT_TIER_NAME to a valid name. {' '.join(error.messages)}") from error
    tier.save()
    return name


def make_first_superuser(done: Bootstrapped) -> None:
    done.username = settings.ADMIN_USERNAME or "admin"
    done.password = "" if settings.ADMIN_PASSWORD else secrets.token_urlsafe(15)
    user = User(
        username=done.username,
        email=settings.ADMIN_EMAIL or f"{done.username}@localhost.localdomain",
        name=settings.ADMIN_NAME or "Administrator",
        tier=Tier.objects.default(),
        is_staff=True,
        is_superuser=True,
    )
    user.set_password(settings.ADMIN_PASSWORD or done.password)
    refuse_unusable(user)
    user.save()
    set_address(user, verified=True)
    Author(user, via="manage.py bootstrap").record(user, ADDITION, note="First superuser.")


def refuse_unusable(user: User) -> None:
    """An ordinary account that has the name already is not promoted: whoever signed up first must not become superuser."""
    try:
        user.full_clean()
        if settings.ADMIN_PASSWORD:
            validate_password(settings.ADMIN_PASSWORD, user)
    except ValidationError as error:
        raise BootstrapRefused(
            "The first superuser could not be made. Set ADMIN_USERNAME, ADMIN_EMAIL, ADMIN_NAME and ADMIN_PASSWORD to values that are free "
            "and valid. " + " ".join(error.messages)
        ) from error
