"""System checks: what must hold before Gatehouse may start, or go into production. Each says what to set.

Errors of the deployment checks stop gunicorn from starting (config/gunicorn.py); `manage.py check --deploy` shows all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from email.utils import parseaddr
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ValidationError
from django.core.mail.message import sanitize_address
from django.db import connection

from accounts.fields import normalize_email
from apikeys.addresses import as_network
from apikeys.gateway.peers import UNIX_SOCKET
from config.base.mail import validate_mailable

MIN_SECRET_KEY_LENGTH = 50
MIN_PEPPER_LENGTH = 32
MIN_GATEWAY_SECRET_LENGTH = 16
MIN_DISTINCT_CHARACTERS = 10
# Values that stand in examples, ours and the FastAPI starter's.
KNOWN_SECRETS = re.compile(r"change|insecure|secret-?key|example|password|your[-_ ]", re.IGNORECASE)
KEY_PREFIX = re.compile(r"[a-z][a-z0-9]{1,15}")
MAKE_ONE = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(50))'"

Check = Callable[..., list[CheckMessage]]


def found(generator: Callable[[], Iterator[CheckMessage]]) -> Check:
    """Let a check be written as a generator of messages."""

    def check(app_configs: Sequence[Any] | None = None, **kwargs: Any) -> list[CheckMessage]:
        return list(generator())

    check.__name__ = generator.__name__
    return check


@register
@found
def settings_make_sense() -> Iterator[CheckMessage]:
    if not KEY_PREFIX.fullmatch(settings.API_KEY_PREFIX):
        yield Error(
            "API_KEY_PREFIX must be 2 to 16 lower-case letters and digits, a letter first.", id="gatehouse.E001"
        )
    if settings.TRUSTED_PROXY_HOPS < 0:
        yield Error(
            "TRUSTED_PROXY_HOPS must be 0 or more: the number of proxies of yours in front.", id="gatehouse.E003"
        )
    if not fits_a_header(settings.GATEWAY_SECRET):
        yield Error(
            "GATEWAY_SECRET must be visible ASCII characters without spaces around them: no gateway could send it in a header.",
            hint=MAKE_ONE,
            id="gatehouse.E005",
        )
    for network in settings.GATEWAY_TRUSTED:
        if network != UNIX_SOCKET and as_network(network) is None:
            yield Error(
                f"GATEWAY_TRUSTED has “{network}”, which is neither an address nor a network such as 10.0.0.0/8. "
                f"For gateways on a unix socket write {UNIX_SOCKET}",
                id="gatehouse.E004",
            )


@register
@found
def addresses_can_be_mailed() -> Iterator[CheckMessage]:
    for name in ("DEFAULT_FROM_EMAIL", "KEY_EXPIRY_TEAM_EMAIL"):
        value = getattr(settings, name)
        if value and not is_mailbox(value):
            yield Error(
                f"{name} is not an address that mail can be sent to or from.",
                hint=f"Set {name} to one email address, such as team@example.com or Team <team@example.com>.",
                id="gatehouse.E030",
            )


@register(Tags.security, deploy=True)
@found
def secrets_are_secret() -> Iterator[CheckMessage]:
    if is_weak(settings.SECRET_KEY, MIN_SECRET_KEY_LENGTH):
        yield Error(
            "SECRET_KEY is too short or a value from an example: whoever guesses it can forge sessions.",
            hint=f"Set SECRET_KEY to at least {MIN_SECRET_KEY_LENGTH} random characters. {MAKE_ONE}",
            id="gatehouse.E010",
        )
    if any(is_weak(pepper, MIN_PEPPER_LENGTH) for pepper in settings.API_KEY_PEPPERS):
        yield Error(
            "API_KEY_PEPPERS has a value that is too short or from an example.",
            hint=f"Set each pepper to at least {MIN_PEPPER_LENGTH} random characters. {MAKE_ONE}",
            id="gatehouse.E011",
        )


@register(Tags.security, deploy=True)
@found
def this_is_production() -> Iterator[CheckMessage]:
    if settings.DEBUG:
        yield Error(
            "DEBUG is on: error pages would show settings and source to everyone.",
            hint="Set DEBUG=false.",
            id="gatehouse.E012",
        )
    if any(lets_any_name_in(host.strip()) for host in settings.ALLOWED_HOSTS):
        yield Error(
            "ALLOWED_HOSTS lets any host name in: an attacker's would end up in password reset mails.",
            hint="Set ALLOWED_HOSTS to the names that people use, for example ALLOWED_HOSTS=admin.example.com.",
            id="gatehouse.E013",
        )
    if settings.NODES > 1 and connection.vendor == "sqlite":
        yield Error(
            "SQLite holds the data of one machine, and NODES says there are several.",
            hint="Set DATABASE_URL to a PostgreSQL database that all nodes share, or NODES=1.",
            id="gatehouse.E014",
        )


@register(Tags.security, deploy=True)
@found
def gateways_are_known() -> Iterator[CheckMessage]:
    if not settings.GATEWAY_SECRET:
        yield CheckWarning(
            "GATEWAY_SECRET is not set: every process on a trusted address may ask about keys.",
            hint="Set GATEWAY_SECRET to a random value, and let the gateways send it in X-Gateway-Secret.",
            id="gatehouse.W020",
        )
    elif is_weak(settings.GATEWAY_SECRET, MIN_GATEWAY_SECRET_LENGTH):
        yield CheckWarning(
            "GATEWAY_SECRET is short or from an example: anyone on a trusted address who guesses it may ask about keys.",
            hint=f"Set GATEWAY_SECRET to at least {MIN_GATEWAY_SECRET_LENGTH} random characters. {MAKE_ONE}",
            id="gatehouse.W021",
        )


def is_mailbox(value: str) -> bool:
    """Whether `value` is one address that mail can be sent to, alone or as “Name <address>”."""
    try:
        sanitize_address(value, "utf-8")
        validate_mailable(normalize_email(parseaddr(value)[1]))
    except (ValueError, ValidationError):
        return False
    return True


def lets_any_name_in(host: str) -> bool:
    """Whether an entry of ALLOWED_HOSTS stands for every name, or for every name of a top-level domain (“.com”)."""
    return host in {"*", ""} or (host.startswith(".") and "." not in host[1:])


def fits_a_header(value: str) -> bool:
    return value == value.strip() and value.isascii() and value.isprintable()


def is_weak(secret: str, shortest: int) -> bool:
    return len(secret) < shortest or len(set(secret)) < MIN_DISTINCT_CHARACTERS or bool(KNOWN_SECRETS.search(secret))
