"""Create keys, rate limits, usage, and staff with permissions."""

from __future__ import annotations

from django.contrib.auth.models import Permission

from apikeys.models import APIKey, KeyPermission, KeyUsage
from apikeys.secrets import new_secret
from apikeys.services import stored_form
from ratelimits.models import RateLimit
from tests.conftest import make_user


def make_key(user, name="a key", *, allow=("* *",), secret=None, **fields):
    """Create a key. For tests, the instance has its secret as `key.secret`."""
    secret = secret or new_secret()
    key = APIKey.objects.create(user=user, name=name, **(stored_form(secret) | fields))
    for permission in allow:
        action, resource, host = [*permission.replace(" at ", " ").split(" "), ""][:3]
        KeyPermission.objects.create(api_key=key, action=action, resource=resource, host=host)
    key.secret = secret
    return key


def make_limit(tier, path="/orders/*", **fields):
    return RateLimit.objects.create(tier=tier, path=path, **{"limit": 10, **fields})


def make_own_limit(user, path="/orders/*", **fields):
    """Create a user's own rate limit."""
    return RateLimit.objects.create(user=user, path=path, **{"limit": 5, "name": f"own {path}"} | fields)


def make_usage(key, **fields):
    values = {"endpoint": "/orders", "method": "GET", "status_code": 200, **fields}
    return KeyUsage.objects.create(api_key=key, user=key.user, **values)


def make_staff(name, *permissions, **fields):
    """Create a staff user with these permissions: "app.codename", or "codename" for one on users."""
    user = make_user(name, is_staff=True, **fields)
    for permission in permissions:
        app, _, codename = permission.rpartition(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app or "accounts", codename=codename))
    return user
