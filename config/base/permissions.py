"""Which permissions staff can be given: those for sections of the admin and pages of ours."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission
from django.db.models import Q, QuerySet
from django.utils.text import capfirst


def offered_permissions(site: Any, held: Q) -> QuerySet[Permission]:
    """held: those that are kept in the list although no section has them, so that saving a form unchanged keeps them."""
    offered = held
    for model in (*site._registry, *site.models_with_pages):
        offered |= Q(content_type__app_label=model._meta.app_label, content_type__model=model._meta.model_name)
    return Permission.objects.filter(offered).select_related("content_type").distinct()


def permission_label(permission: Permission) -> str:
    return capfirst(permission.name.removeprefix("Can "))
