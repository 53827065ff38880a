"""Template tags of every page: {% load gatehouse %} (settings.TEMPLATES names this module)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from django import template
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.admin.templatetags.admin_list import result_headers, result_list
from django.contrib.admin.views.main import ChangeList
from django.contrib.messages.storage.base import Message
from django.core.paginator import Page
from django.template.context import Context
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from config import middleware
from config.base import branding, history, text
from config.base.charts import Chart, Figure, bar_chart
from config.base.export import FORMATS
from config.base.filters import query_without
from config.base.undo import Button, button_of

register = template.Library()

SELECT_PAGE_BOX = mark_safe(
    '<span class="visually-hidden">Select</span>'
    '<input type="checkbox" class="select-page" aria-label="Select all on this page" hidden>'
)


@register.filter
def ago(time: datetime | None, otherwise: str = "never") -> str:
    return otherwise if time is None else time_element(time, text.ago(time))


@register.filter
def exact(time: datetime | None, otherwise: str = "–") -> str:
    return otherwise if time is None else time_element(time, text.local(time))


@register.filter
def to_millisecond(time: datetime) -> str:
    return time_element(time, text.local_to_millisecond(time))


@register.filter
def time_as(time: datetime | None, words: str) -> str:
    """`words`, with the exact time on hover if there is one."""
    return words if time is None else time_element(time, words)


def time_element(time: datetime, words: str) -> SafeString:
    iso = time.astimezone(UTC).isoformat(timespec="seconds")
    titles = dict.fromkeys((text.local(time), text.exact(time)))
    return format_html('<time datetime="{}" title="{}">{}</time>', iso, " / ".join(titles), words)


@register.filter
def counted(number: int | None, noun: str) -> str:
    """{{ 3|counted:"key" }} is “3 keys”; an irregular plural follows a comma: counted:"entry,entries"."""
    singular, _, plural = noun.partition(",")
    return text.counted(number or 0, singular, plural)


@register.filter
def period(seconds: int | None) -> str:
    """{{ 60|period }} is “minute”, {{ 300|period }} is “5 minutes”."""
    return text.period_in_words(seconds) if seconds else ""


@register.filter
def duration(seconds: int) -> str:
    return text.duration(seconds)


# All other states are gray.
STATE_KINDS = {
    "active": "ok",
    "suspended": "warn",
    "disabled": "warn",
    "owner suspended": "warn",
    "owner deleted": "warn",
    "owner erased": "warn",
    "revoked": "danger",
    "deleted": "danger",
    "verified": "ok",
    "not verified": "warn",
    "on": "ok",
    "staff": "accent",
    "succeeded": "ok",
    "failed": "danger",
    "stopped": "danger",
    "overdue": "danger",
    "running": "accent",
    "superuser": "accent",
}


@register.simple_tag
def badge(word: str, kind: str = "") -> SafeString:
    """A word with the color of its kind (ok, warn, danger, accent, muted), or else of the state it names."""
    return format_html('<span class="badge badge-{}">{}</span>', kind or STATE_KINDS.get(word, "muted"), word)


@register.simple_tag
def badges(states: Iterable[str]) -> SafeString:
    return format_html_join(" ", "{}", ((badge(state),) for state in states))


@register.inclusion_tag("base/pagination.html", takes_context=True)
def page_links(context: Context, page: Page[Any], parameter: str = "page") -> dict[str, Any]:
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


@register.inclusion_tag("base/export_menu.html", takes_context=True)
def export_menu(context: Context, start: str) -> dict[str, Any]:
    """start: of the URL that exports this list, up to the name of the format."""
    query = query_without(context["request"].GET, "live", "format")
    mark = "&" if "?" in start else "?"
    return {"choices": [(label, f"{start}{name}{mark}{query}".rstrip("?&")) for name, label in FORMATS.items()]}


@register.inclusion_tag("base/export_menu.html")
def export_selected_menu() -> dict[str, Any]:
    """Sends the form with the selected rows and the name of the format as `export`."""
    return {"selected": True, "choices": [(label, name) for name, label in FORMATS.items()]}


@register.filter
def matching(page: Page[Any], nouns: str) -> str:
    """How many rows the list of the page has, as “195 matching users”, if they are counted."""
    singular, _, plural = nouns.partition(",")
    plural = f"matching {plural or f'{singular}s'}"
    if getattr(page.paginator, "is_capped", False):
        return plural
    return text.counted(page.paginator.count, f"matching {singular}", plural)


@register.simple_tag
def select_page_box() -> SafeString:
    """For the head of the boxes that select the rows of a list; lists.js shows it."""
    return SELECT_PAGE_BOX


@register.simple_tag
def request_id() -> str:
    return middleware.request_id.get()


@register.simple_tag
def describe(entry: LogEntry) -> history.Description:
    return history.describe(entry)


@register.simple_tag
def undo_button(message: Message) -> Button | None:
    return button_of(message.extra_tags)


@register.inclusion_tag("base/error_summary.html")
def error_summary(form: Any, top: Any = (), inlines: Iterable[Any] = ()) -> dict[str, Any]:
    """What stands above a form with errors, and gets the focus. top: its errors that aren't about one field."""
    tables = [getattr(form, "picker", None), *(inline.formset for inline in inlines)]
    rows = [row for table in tables if table is not None for row in enumerate(table.forms, 1)]
    fields = [*invalid_fields(form), *(link for number, row in rows for link in invalid_fields(row, f" {number}"))]
    return {"top": top, "fields": fields}


def invalid_fields(form: Any, number: str = "") -> list[tuple[str, str]]:
    """Where each is on the page, and its label, with the number of its row."""
    bound = [form[name] for name in form.fields if name in form.errors]
    return [
        (field.id_for_label or f"{field.auto_id}_0", f"{field.label}{number}") for field in bound if not field.is_hidden
    ]


@register.inclusion_tag("base/bars.html")
def bars(title: str, figures: Sequence[Figure], *series: str, urls: Sequence[Sequence[str]] = ()) -> dict[str, Chart]:
    """{% bars "Requests" figures "Allowed" "Denied" %}: a chart, and the same figures in a table."""
    return {"chart": bar_chart(title, figures, series, urls)}


@register.inclusion_tag("base/bars.html")
def bar_series(
    title: str, figures: Sequence[Figure], series: Sequence[str], urls: Sequence[Sequence[str]] = ()
) -> dict[str, Chart]:
    """`bars` for series named by data: {% bar_series "By key" figures names %}."""
    return {"chart": bar_chart(title, figures, series, urls)}


@register.inclusion_tag("admin/change_list_results.html")
def shown_results(changelist: ChangeList, hidden: Collection[str]) -> dict[str, Any]:
    """The table of a list of the admin, without the `hidden` columns. Links that sort name a column by its number among all."""
    names = changelist.list_display
    found = dict(zip(names, result_headers(changelist), strict=True))
    if "action_checkbox" in found:
        found["action_checkbox"]["text"] = SELECT_PAGE_BOX
    headers = [head for name, head in found.items() if name not in hidden]
    changelist.list_display = [name for name in names if name not in hidden]
    sorted_by = [head for head in headers if head["sortable"] and head["sorted"]]
    return result_list(changelist) | {"result_headers": headers, "num_sorted_fields": len(sorted_by)}


@register.simple_tag
def copyable(value: Any, what: str) -> SafeString:
    """An id, an address or the like, with a button that copies it, unless there is none."""
    return format_html('<span class="copyable"><span class="mono">{}</span> {}</span>', value, copy_button(what))


@register.simple_tag
def copy_button(what: str) -> SafeString:
    """Copies the element before it. gatehouse.js shows it."""
    return format_html(
        '<span class="copier"><button type="button" class="copy" hidden>Copy<span class="visually-hidden"> {}</span></button>'
        ' <span class="muted small" role="status"></span></span>',
        what,
    )


@register.simple_tag
def instance_name() -> str:
    return settings.INSTANCE_NAME


@register.simple_tag
def logo_url() -> str:
    """Empty without a custom logo. Changes with the file."""
    logo = branding.logo(settings.INSTANCE_LOGO)
    return f"{reverse('logo')}?v={logo.version}" if logo else ""


@register.simple_tag
def accent_url() -> str:
    color = settings.ACCENT_COLOR
    return f"{reverse('accent')}?v={color.removeprefix('#')}" if color else ""


@register.simple_tag
def environment_badge() -> dict[str, str]:
    name = settings.ENVIRONMENT_NAME
    return {"name": name, "kind": "warn" if name == "production" else "muted"}
