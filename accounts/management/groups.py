from __future__ import annotations

from django.contrib.auth.models import Group, Permission
from django.db import models

SUPPORT = "Support"
AUDITOR = "Auditor"

# No group can view sessions, second factors and provider tokens.
VIEWABLE = {
    "accounts": ["user"],
    "tiers": ["tier"],
    "ratelimits": ["ratelimit"],
    "apikeys": ["apikey", "job", "keypermission", "keyusage"],
    "admin": ["logentry"],
    "auth": ["group"],
}
# Support can also edit ordinary users, and disable and revoke keys. They can't edit keys: rotating one shows its secret.
SUPPORT_PERMISSIONS = [("accounts", "change_user"), ("apikeys", "stop_apikey")]


def create_groups() -> list[str]:
    created_names = []
    for name, permissions in ((SUPPORT, view_permissions() | support_permissions()), (AUDITOR, view_permissions())):
        group, created = Group.objects.get_or_create(name=name)
        if created:
            group.permissions.set(permissions)
            created_names.append(name)
    return created_names


def view_permissions() -> models.QuerySet[Permission]:
    condition = models.Q()
    for app, names in VIEWABLE.items():
        condition |= models.Q(content_type__app_label=app, codename__in=[f"view_{name}" for name in names])
    return Permission.objects.filter(condition)


def support_permissions() -> models.QuerySet[Permission]:
    condition = models.Q()
    for app, codename in SUPPORT_PERMISSIONS:
        condition |= models.Q(content_type__app_label=app, codename=codename)
    return Permission.objects.filter(condition)
