"""The suggestions of the search field on staff pages: actions such as “suspend olu”, pages, and rows of all sections."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from django.views.decorators.debug import sensitive_variables

from accounts.models import User
from accounts.staff import actions as user_actions
from apikeys.models import APIKey
from apikeys.pages import actions as key_actions
from apikeys.secrets import is_well_formed
from config.base.actions import Action
from config.staff.search import search
from config.staff.templatetags import STAFF_SECTIONS
from ratelimits.plans.import_views import RIGHTS

MAX_SUGGESTED = 5
# The first word must be this long to mean an action: “su” may be the start of a name.
SHORTEST_VERB = 3


class Suggestion(NamedTuple):
    group: str
    label: str
    about: str
    url: str


@dataclass(frozen=True)
class Page:
    label: str
    url_name: str
    permissions: tuple[str, ...] = ()
    words: str = ""  # other words that find it

    def matches(self, text: str) -> bool:
        known = f"{self.label} {self.words}".casefold().split()
        return all(any(one.startswith(word) for one in known) for word in text.casefold().split())


PAGES = (
    *(Page(section.label, section.url_name, section.permissions) for section in STAFF_SECTIONS),
    Page("Create user", "users:create", ("accounts.add_user",), "add new"),
    Page("Import users", "users:import", ("accounts.add_user", "accounts.change_user"), "csv xlsx upload"),
    Page("Import tiers", "ratelimits:import", RIGHTS, "csv xlsx upload rate limits plans"),
    Page("Create tier", "admin:tiers_tier_add", ("tiers.add_tier",), "add new plan"),
    Page("Create rate limit", "admin:ratelimits_ratelimit_add", ("ratelimits.add_ratelimit",), "add new quota"),
    Page("Create API key", "admin:apikeys_apikey_add", ("apikeys.add_apikey",), "add new"),
    Page("Find a key by its secret", "staff_keys:find", ("apikeys.view_apikey",), "leaked search"),
    Page("Key hygiene", "staff_keys:hygiene", ("apikeys.view_apikey",), "unused idle expiring unrestricted"),
    Page("Explain a decision", "tools:explain", ("apikeys.view_apikey",), "why denied"),
    Page("Connect a gateway", "tools:connect", ("apikeys.view_apikey",), "nginx traefik caddy envoy self-test"),
    Page("Requests", "usage:staff_requests", ("apikeys.view_keyusage",), "log denied"),
    Page("Test a path", "ratelimits:match_tester", ("ratelimits.view_ratelimit",), "match tester rate limit"),
    Page("Recently rate limited", "ratelimits:limited_now", ("ratelimits.view_ratelimit",), "denied 429"),
    Page("Help", "help:help", (), "documentation shortcuts keyboard"),
    Page("Your account", "account:profile", (), "profile"),
    Page("Password and security", "account_change_password", (), "sessions passkey"),
)


@sensitive_variables()
def suggestions(site: AdminSite, request: HttpRequest, text: str) -> Iterator[Suggestion]:
    user: Any = request.user
    if is_well_formed(text):
        yield from key_with_secret(user, text)
    elif text and "\0" not in text:
        yield from actions(user, text)
        yield from pages(user, text)
        for group in search(site, request, text):
            for row, about in group["rows"][:MAX_SUGGESTED]:
                yield Suggestion(capfirst(group["label"]), str(row), about, row.get_absolute_url())


def pages(user: Any, text: str) -> Iterator[Suggestion]:
    for page in PAGES:
        if page.matches(text) and (not page.permissions or any(map(user.has_perm, page.permissions))):
            yield Suggestion("Pages", page.label, "", reverse(page.url_name))


@sensitive_variables()
def key_with_secret(user: Any, secret: str) -> Iterator[Suggestion]:
    if user.has_perm("apikeys.view_apikey") or user.has_perm("apikeys.change_apikey"):
        for key in APIKey.objects.with_secret(secret).select_related("user"):
            yield Suggestion("API keys", key.name, f"of {key.user}, has this secret", key.get_absolute_url())


# --- Actions ---


def actions(user: Any, text: str) -> Iterator[Suggestion]:
    """What `user` can do, by the start of its name, to the rows that the other words find."""
    verb, _, target = text.partition(" ")
    if len(verb) < SHORTEST_VERB or not target.strip():
        return
    if user.has_perm("accounts.view_user"):
        offered = (*user_actions.OFFERED, user_actions.ChangeTier())
        yield from actions_on(user, User.objects.select_related("tier"), offered, verb, target)
    if user.has_perm("apikeys.view_apikey"):
        yield from actions_on(user, APIKey.objects.select_related("user"), key_actions.ACTIONS, verb, target)


def actions_on(user: Any, rows: Any, offered: Any, verb: str, target: str) -> Iterator[Suggestion]:
    namespace = "users" if rows.model is User else "staff_keys"
    for action in offered:
        if action.label.casefold().startswith(verb.casefold()) and action.may(user, rows.model):
            for row in action.fits(action.allowed(user, rows)).matching(target)[:MAX_SUGGESTED]:
                yield Suggestion(
                    "Actions", phrase(action, row), about(row), reverse(f"{namespace}:{action.name}", args=[row.pk])
                )


def phrase(action: Action, row: Any) -> str:
    return action.applied_to(f"“{row.username if isinstance(row, User) else row.name}”")


def about(row: Any) -> str:
    return f"{row.name} · {row.email}" if isinstance(row, User) else f"{row.shown_as} · {row.user}"
