"""Template tags of every page: {% load gatehouse %} (settings.TEMPLATES names this module)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import template
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Page
from django.http import HttpRequest
from django.template.context import Context
from django.urls import NoReverseMatch, is_valid_path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from config.base import history as base_history
from config.base import text as base_text
from config.base.charts import Chart, Figure, bar_chart
from config.middleware import request_id as current_request_id

register = template.Library()


@register.filter
def ago(moment: datetime | None, otherwise: str = "never") -> str:
    """The moment as a <time> in relative words, its exact UTC time on hover; `otherwise` when there is none."""
    if moment is None:
        return otherwise
    return time_element(moment, base_text.ago(moment))


@register.filter
def exact(moment: datetime | None, otherwise: str = "–") -> str:
    """The moment as a <time> in UTC, to the second."""
    return otherwise if moment is None else time_element(moment, base_text.exact(moment))


def time_element(moment: datetime, text: str) -> SafeString:
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', moment.isoformat(timespec="seconds"), base_text.exact(moment), text
    )


@register.filter
def counted(number: int | None, noun: str) -> str:
    """{{ 3|counted:"key" }} is “3 keys”; a plural without s follows a comma: counted:"entry,entries"."""
    singular, _, plural = noun.partition(",")
    return base_text.counted(number or 0, singular, plural)


@register.filter
def period(seconds: int | None) -> str:
    """What follows “per”: {{ 60|period }} is “minute”, {{ 300|period }} “5 minutes”; nothing for none."""
    return base_text.period_in_words(seconds) if seconds else ""


@register.filter
def duration(seconds: int) -> str:
    """How long something takes: {{ 1761|duration }} is “30 minutes”."""
    return base_text.duration(seconds)


# The colour of a state, whatever is in it; all others are grey.
STATE_KINDS = {
    "active": "ok",
    "suspended": "warn",
    "disabled": "warn",
    "owner suspended": "warn",
    "owner deleted": "warn",
    "owner erased": "warn",
    "revoked": "danger",
    "deleted": "danger",
    "staff": "accent",
    "superuser": "accent",
}


@register.simple_tag
def badge(text: str, kind: str = "") -> SafeString:
    """A word with a colour: of its kind (ok, warn, danger, accent, muted), or else of the state it names."""
    return format_html('<span class="badge badge-{}">{}</span>', kind or STATE_KINDS.get(text, "muted"), text)


@register.simple_tag
def badges(states: Iterable[str]) -> SafeString:
    return format_html_join(" ", "{}", ((badge(state),) for state in states))


@register.inclusion_tag("base/breadcrumbs.html", takes_context=True)
def breadcrumbs(context: Context, *trail: Any) -> dict[str, Any]:
    """{% breadcrumbs "Users" "users:list" user.name user_url "Edit" %}: each page above this one with its path or URL name."""
    own = context["request"].path_info.startswith("/account")
    *above, here = ("Your account", "account:profile", *trail) if own else ("Overview", "admin:index", *trail)
    links = zip(above[::2], map(first_place, above[1::2]), strict=True)
    return {"links": list(links), "here": here}


@register.inclusion_tag("base/pagination.html", takes_context=True)
def page_links(context: Context, page: Page[Any], parameter: str = "page") -> dict[str, Any]:
    """Links to the other pages of a list; they keep the rest of the query string."""
    query = context["request"].GET.copy()

    def url(number: int) -> str:
        query[parameter] = str(number)
        return f"?{query.urlencode()}"

    numbers = page.paginator.get_elided_page_range(page.number, on_each_side=2, on_ends=1)
    return {
        "page": page,
        "previous": url(page.previous_page_number()) if page.has_previous() else "",
        "links": [(number, url(number) if isinstance(number, int) else "") for number in numbers],
        "next": url(page.next_page_number()) if page.has_next() else "",
    }


@register.simple_tag
def request_id() -> str:
    """The id under which the log tells of this request."""
    return current_request_id.get()


@register.simple_tag
def told(entry: LogEntry) -> base_history.Told:
    """What a history entry says: summary, values (old → new), ip, via."""
    return base_history.told(entry)


@register.inclusion_tag("base/bars.html")
def bars(title: str, figures: Sequence[Figure], *series: str) -> dict[str, Chart]:
    """{% bars "Requests" figures "Allowed" "Refused" %}: a chart, and the same figures in a table."""
    return {"chart": bar_chart(title, figures, series)}


@register.inclusion_tag("base/bars.html")
def bar_series(title: str, figures: Sequence[Figure], series: Sequence[str]) -> dict[str, Chart]:
    """As `bars`, for series whose names are data: {% bar_series "By key" figures names %}."""
    return {"chart": bar_chart(title, figures, series)}


@dataclass(frozen=True)
class Section:
    """An entry of the side bar. `places` are tried in turn, so that a page can come later than its section."""

    label: str
    icon: str
    places: tuple[str, ...]
    permissions: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    # Whether only the page itself belongs to the section, and none below it.
    exact: bool = False


STAFF_SECTIONS = (
    Section("Overview", "overview", ("admin:index",), exact=True),
    Section("Users", "users", ("users:list",), ("accounts.view_user", "accounts.change_user")),
    Section("Tiers", "tiers", ("admin:tiers_tier_changelist",), ("tiers.view_tier", "tiers.change_tier")),
    Section(
        "Rate limits",
        "limits",
        ("admin:ratelimits_ratelimit_changelist",),
        ("ratelimits.view_ratelimit", "ratelimits.change_ratelimit"),
        within=("/admin/ratelimits/",),
    ),
    Section(
        "API keys",
        "keys",
        ("admin:apikeys_apikey_changelist",),
        ("apikeys.view_apikey", "apikeys.change_apikey"),
        within=("/admin/apikeys/",),
    ),
    Section("Usage", "usage", ("usage:staff", "admin:apikeys_keyusage_changelist"), ("apikeys.view_keyusage",)),
    Section("Groups", "groups", ("admin:auth_group_changelist",), ("auth.view_group", "auth.change_group")),
    Section("History", "history", ("admin:admin_logentry_changelist",), ("admin.view_logentry",)),
)
ACCOUNT_SECTIONS = (
    Section("Profile", "users", ("/account/",)),
    Section("Keys", "keys", ("/account/keys/",)),
    Section("Usage", "usage", ("/account/usage/",)),
    Section("Limits", "limits", ("/account/limits/",)),
    Section(
        "Security",
        "security",
        ("/account/security/", "account_change_password", "mfa_index", "admin:password_change"),
        within=("/accounts/",),
    ),
)


@register.simple_tag(takes_context=True)
def staff_sections(context: Context) -> list[dict[str, Any]]:
    """The sections of the staff pages that the person who asks may view."""
    user = getattr(context.get("request"), "user", None)
    if user is None or not user.is_staff:
        return []
    may_see = [
        section for section in STAFF_SECTIONS if not section.permissions or any(map(user.has_perm, section.permissions))
    ]
    return entries(context["request"], may_see)


@register.simple_tag(takes_context=True)
def account_sections(context: Context) -> list[dict[str, Any]]:
    """The sections of the account holder's own pages."""
    request = context.get("request")
    return entries(request, ACCOUNT_SECTIONS) if request is not None else []


def entries(request: HttpRequest, sections: Sequence[Section]) -> list[dict[str, Any]]:
    """What the side bar shows: label, icon, url, and whether it is where we are (the longest match)."""
    found = [(section, url) for section in sections if (url := first_place(*section.places))]
    here = max((match_length(request.path, section, url) for section, url in found), default=0)
    return [
        {
            "label": section.label,
            "icon": section.icon,
            "url": url,
            "current": 0 < here == match_length(request.path, section, url),
        }
        for section, url in found
    ]


def match_length(path: str, section: Section, url: str) -> int:
    if section.exact:
        return len(url) if path == url else 0
    prefixes = (url, *section.within, *(place for place in map(first_place, section.places) if place))
    return max((len(prefix) for prefix in prefixes if path.startswith(prefix)), default=0)


@register.simple_tag
def first_place(*places: str) -> str:
    """The first of these URL names or paths that exists; empty if none does."""
    for place in places:
        if place.startswith("/"):
            if is_valid_path(place):
                return place
            continue
        try:
            return reverse(place)
        except NoReverseMatch:
            continue
    return ""


@register.simple_tag
def active_filters(changelist: ChangeList) -> list[dict[str, str]]:
    """The filters that narrow an admin list, each with the URL of the list without it."""
    return list(chips(changelist))


def chips(changelist: ChangeList) -> Iterator[dict[str, str]]:
    if changelist.query:
        yield {
            "label": "Search",
            "value": changelist.query[:60],
            "url": changelist.get_query_string(remove=["q", "p"]),
        }
    for spec in changelist.filter_specs:
        names = [name for name in spec.expected_parameters() if name]
        if any(name in changelist.filter_params for name in names):
            chosen = [str(choice["display"]) for choice in spec.choices(changelist) if choice["selected"]]
            yield {
                "label": str(spec.title).capitalize(),
                "value": ", ".join(chosen) or "set",
                "url": changelist.get_query_string(remove=[*names, "p"]),
            }


@register.simple_tag
def environment_badge() -> dict[str, str]:
    """The name of this installation, and a colour that warns where changes are real."""
    name = settings.ENVIRONMENT_NAME
    return {"name": name, "kind": "warn" if name == "production" else "muted"}
