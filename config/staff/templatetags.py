"""Template tags for navigation: the side bar and breadcrumbs. Built in, so that templates need no {% load %}."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django import template
from django.http import HttpRequest
from django.template.context import Context
from django.urls import reverse

register = template.Library()


@dataclass(frozen=True)
class Section:
    """An entry of the side bar. within: prefixes of further pages that belong to it."""

    label: str
    icon: str
    url_name: str
    permissions: tuple[str, ...] = ()
    within: tuple[str, ...] = ()


STAFF_SECTIONS = (
    Section("Overview", "overview", "admin:index"),
    Section("Users", "users", "users:list", ("accounts.view_user", "accounts.change_user")),
    Section("Tiers", "tiers", "admin:tiers_tier_changelist", ("tiers.view_tier", "tiers.change_tier")),
    Section(
        "Rate limits",
        "limits",
        "admin:ratelimits_ratelimit_changelist",
        ("ratelimits.view_ratelimit", "ratelimits.change_ratelimit"),
        within=("/admin/ratelimits/",),
    ),
    Section(
        "API keys",
        "keys",
        "admin:apikeys_apikey_changelist",
        ("apikeys.view_apikey", "apikeys.change_apikey"),
        within=("/admin/apikeys/",),
    ),
    Section("Usage", "usage", "usage:staff", ("apikeys.view_keyusage",)),
    Section("Groups", "groups", "admin:auth_group_changelist", ("auth.view_group", "auth.change_group")),
    Section("History", "history", "admin:admin_logentry_changelist", ("admin.view_logentry",)),
    Section("Jobs", "jobs", "jobs:list", ("apikeys.view_job",)),
)
ACCOUNT_SECTIONS = (
    Section("Profile", "users", "account:profile"),
    Section("API keys", "keys", "keys:list"),
    Section("Usage", "usage", "usage:account"),
    Section("Rate limits", "limits", "account:limits"),
    Section("Settings", "settings", "account:settings"),
    Section("Security", "security", "account_change_password", within=("/accounts/",)),
)


@register.simple_tag(takes_context=True)
def staff_sections(context: Context) -> list[dict[str, Any]]:
    user = getattr(context.get("request"), "user", None)
    if user is None or not user.is_staff:
        return []
    visible = [
        section for section in STAFF_SECTIONS if not section.permissions or any(map(user.has_perm, section.permissions))
    ]
    return entries(context["request"], visible)


@register.simple_tag(takes_context=True)
def account_sections(context: Context) -> list[dict[str, Any]]:
    request = context.get("request")
    return entries(request, ACCOUNT_SECTIONS) if request is not None else []


def entries(request: HttpRequest, sections: Sequence[Section]) -> list[dict[str, Any]]:
    urls = [reverse(section.url_name) for section in sections]
    lengths = [match_length(request.path, url, *section.within) for section, url in zip(sections, urls, strict=True)]
    return [
        {"label": section.label, "icon": section.icon, "url": url, "current": 0 < length == max(lengths)}
        for section, url, length in zip(sections, urls, lengths, strict=True)
    ]


def match_length(path: str, url: str, *within: str) -> int:
    if url == reverse("admin:index"):  # every staff page is below it
        return len(url) if path == url else 0
    return max((len(prefix) for prefix in (url, *within) if path.startswith(prefix)), default=0)


@register.inclusion_tag("base/breadcrumbs.html", takes_context=True)
def breadcrumbs(context: Context, *trail: Any) -> dict[str, Any]:
    """{% breadcrumbs "Users" "users:list" user.name user_url "Edit" %}: each page above this one with its path or URL name."""
    own = context["request"].path_info.startswith("/account")
    *above, here = ("Your account", "account:profile", *trail) if own else ("Overview", "admin:index", *trail)
    urls = (reverse(place) if place and not place.startswith("/") else place for place in above[1::2])
    return {"links": list(zip(above[::2], urls, strict=True)), "here": here}
