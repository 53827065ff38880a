"""The Rate limits section of the staff pages. The pages beside it are in ratelimits/pages/views.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html

from config.base.admin import when
from config.base.admin_soft_delete import DELETE, MOST_AT_ONCE, SoftDeleteAdmin
from config.base.templatetags import badge
from config.base.text import counted
from ratelimits.advice import takes_over_from
from ratelimits.models import RateLimit
from ratelimits.rules import forget_rules
from ratelimits.services import set_mode

MOST_NEIGHBOURS_TOLD = 5


class MethodFilter(admin.SimpleListFilter):
    title = "method"
    parameter_name = "method"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("any", "Any method"), *((method.value, method.label) for method in RateLimit.Method)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() is None:
            return queryset
        return queryset.filter(method="" if self.value() == "any" else self.value())


@admin.register(RateLimit)
class RateLimitAdmin(SoftDeleteAdmin):
    list_display = ("name", "tier", "path_column", "limit_column", "mode_column", "updated")
    list_filter = (
        "tier",
        "mode",
        "window",
        MethodFilter,
        ("created_at", admin.DateFieldListFilter),
    )
    list_select_related = ("tier",)
    search_fields = ("name_folded__has", "path")
    autocomplete_fields = ("tier",)
    fields = ("tier", "path", "method", "limit", "period", "window", "mode", "name")
    actions = ("observe_selected", "enforce_selected", "delete_selected", "restore_selected", "export_selected")
    change_form_template = "admin/ratelimits/change_form.html"
    change_list_template = "admin/ratelimits/change_list.html"
    empty_advice = "A rate limit says how many requests an account of a tier may make to a path in a period."
    updated = when("updated_at", "Changed")

    @admin.display(description="Requests to", ordering="path")
    def path_column(self, limit: RateLimit) -> str:
        return format_html('<span class="mono">{}</span>', f"{limit.method} {limit.path}".strip())

    @admin.display(description="Limit", ordering="limit")
    def limit_column(self, limit: RateLimit) -> str:
        return limit.in_words

    @admin.display(description="Mode", ordering="mode")
    def mode_column(self, limit: RateLimit) -> str:
        enforced = limit.mode == RateLimit.Mode.ENFORCE
        return badge("enforced", "ok") if enforced else badge("observed only", "warn")

    # --- Saving ---

    def save_model(self, request: HttpRequest, obj: RateLimit, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        forget_rules()
        for sentence in notes_on_neighbours(obj):
            self.tell(request, sentence, messages.WARNING)

    def carry_out(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> None:
        super().carry_out(request, rows, verb)
        forget_rules()

    def consequences(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> list[str]:
        if verb in MODE_CONSEQUENCES:
            return MODE_CONSEQUENCES[verb]
        if verb != DELETE:
            return ["It applies again within 5 seconds."]
        return [
            "Within 5 seconds requests are no longer held to it; the next best limit of the tier applies, or the default.",
            "Nothing is removed: you can restore it at any time.",
        ]

    # --- Modes ---

    @admin.action(description="Only observe selected rate limits", permissions=("change",))
    def observe_selected(self, request: HttpRequest, queryset: QuerySet[RateLimit]) -> HttpResponse | None:
        return self.confirm_mode(request, queryset, RateLimit.Mode.OBSERVE)

    @admin.action(description="Enforce selected rate limits", permissions=("change",))
    def enforce_selected(self, request: HttpRequest, queryset: QuerySet[RateLimit]) -> HttpResponse | None:
        return self.confirm_mode(request, queryset, RateLimit.Mode.ENFORCE)

    def confirm_mode(self, request: HttpRequest, queryset: Any, mode: str) -> HttpResponse | None:
        limits = list(queryset.live().exclude(mode=mode)[: MOST_AT_ONCE + 1])
        if not limits or len(limits) > MOST_AT_ONCE:
            problem = f"Select at most {MOST_AT_ONCE:,}." if limits else "None of the selected would change."
            self.tell(request, problem, messages.ERROR)
            return None
        if request.POST.get("post"):
            changed = set_mode(limits, mode, self.author(request))
            done = "only observed" if mode == RateLimit.Mode.OBSERVE else "enforced"
            self.tell(request, f"{counted(changed, 'rate limit')} now {done}.")
            return None
        return self.confirmation(request, limits, str(mode), hidden=self.action_fields(limits, str(mode)))


MODE_CONSEQUENCES = {
    RateLimit.Mode.OBSERVE.value: [
        "Within 5 seconds they count and report, and refuse nobody.",
        "Requests that match them are held to no other limit of the tier either.",
    ],
    RateLimit.Mode.ENFORCE.value: [
        "Within 5 seconds they refuse requests above the limit. What they counted so far counts.",
    ],
}


def notes_on_neighbours(limit: RateLimit) -> list[str]:
    """What staff should know after saving: which limits of the tier this one takes requests from."""
    taken = takes_over_from((limit.method, limit.path), list(limit.siblings().values_list("method", "path")))
    notes = [
        f"{rule} never applies any more: every request that it matches goes to a more specific limit."
        if all_of_them
        else f"Requests that match {limit.path} no longer count for {rule}, which is less specific."
        for rule, all_of_them in taken.items()
    ][:MOST_NEIGHBOURS_TOLD]
    if taken and limit.mode == RateLimit.Mode.OBSERVE:
        notes.append("While this limit only observes, the requests that it takes over are not limited at all.")
    return notes
