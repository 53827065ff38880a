"""The staff groups that every installation starts with, and the rights that make them."""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission
from django.db import models

SUPPORT = "Support"
AUDITOR = "Auditor"

# Models that staff may look at. Sessions, second factors and provider tokens are nobody's to read.
VISIBLE = {
    "accounts": ["user"],
    "tiers": ["tier"],
    "ratelimits": ["ratelimit"],
    "apikeys": ["apikey", "keypermission", "keyusage"],
    "admin": ["logentry"],
    "auth": ["group"],
}
# What Support may do besides: edit ordinary accounts and their tiers, disable and revoke keys. Not change keys: who
# rotates one sees its new secret, and could act as its holder.
SUPPORT_CHANGES = [("accounts", "change_user"), ("apikeys", "stop_apikey")]


def bootstrap_groups() -> list[str]:
    """Create the default groups that are missing; returns their names. A group that exists is left as it is."""
    made = []
    for name, rights in ((SUPPORT, view_rights() | support_rights()), (AUDITOR, view_rights())):
        group, created = Group.objects.get_or_create(name=name)
        if created:
            group.permissions.set(rights)
            made.append(name)
    return made


def view_rights() -> models.QuerySet[Permission]:
    matches = models.Q()
    for app, names in VISIBLE.items():
        matches |= models.Q(content_type__app_label=app, codename__in=[f"view_{name}" for name in names])
    return Permission.objects.filter(matches)


def support_rights() -> models.QuerySet[Permission]:
    matches = models.Q()
    for app, codename in SUPPORT_CHANGES:
        matches |= models.Q(content_type__app_label=app, codename=codename)
    return Permission.objects.filter(matches)
