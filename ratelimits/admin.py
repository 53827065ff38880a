from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.forms import Media
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html

from config.base.actions import Action, ActionOutcome
from config.base.admin import when
from config.base.admin_soft_delete import Delete, Restore, SoftDeleteAdmin
from config.base.edits import PutBack
from config.base.history import (
    ADDITION,
    CHANGE,
    DELETION,
    Author,
    changes_between,
    former_values,
    initial_values,
    snapshot,
    stored_values,
)
from config.base.periods import PeriodField
from config.base.stale import EditForm
from config.base.templatetags import badge
from config.base.text import period_in_full
from config.base.undo import Operation, put_back
from ratelimits.advice import takes_over_from
from ratelimits.models import RateLimit
from ratelimits.pages.forms import MAX_ON_PAGE, LimitForm, TierLimits
from ratelimits.rules import forget_rules
from ratelimits.services import set_mode
from tiers.admin import PutBackTier, TierAdmin
from tiers.models import Tier

MAX_NOTES = 5


class MethodFilter(admin.SimpleListFilter):
    title = "method"
    parameter_name = "method"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("any", "Any method"), *((method.value, method.label) for method in RateLimit.Method)]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() is None:
            return queryset
        return queryset.filter(method="" if self.value() == "any" else self.value())


class OwnerFilter(admin.SimpleListFilter):
    title = "belongs to"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("tier", "A tier"), ("user", "A user"), ("ended", "A user, ended")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        if self.value() == "ended":
            return queryset.filter(ends_at__lte=timezone.now())
        return queryset if self.value() is None else queryset.filter(user__isnull=self.value() == "tier")


class DeleteLimit(Delete):
    sentences = (
        "It stops applying within 5 seconds. The tier's next most specific rate limit applies instead, or the default.",
        *Delete.sentences,
    )

    def change(self, rows: Any) -> None:
        super().change(rows)
        forget_rules()


class RestoreLimit(Restore):
    sentences = ("It takes effect again within 5 seconds.",)

    def change(self, rows: Any) -> None:
        super().change(rows)
        forget_rules()


class SetMode(Action):
    mode = RateLimit.Mode.OBSERVE

    def fits(self, rows: Any) -> Any:
        return rows.live().exclude(mode=self.mode)

    def perform(self, rows: Any, author: Author, data: dict[str, Any]) -> ActionOutcome:
        return ActionOutcome(set_mode(rows, self.mode, author))


class Observe(SetMode):
    name, label, done, undo = "observe", "Only observe", "{} set to observe only.", "enforce"
    sentences = (
        "Within 5 seconds, they only count and report, and no longer deny requests.",
        "No other rate limit of the tier applies to the requests they match.",
    )


class Enforce(SetMode):
    name, label, done, undo, mode = "enforce", "Enforce", "{} set to enforce.", "observe", RateLimit.Mode.ENFORCE
    sentences = ("Within 5 seconds, they deny requests above the limit. Requests counted so far are included.",)


class PutBackLimit(PutBack):
    def perform(self, rows: Any, author: Author, data: dict[str, Any]) -> ActionOutcome:
        outcome = super().perform(rows, author, data)
        forget_rules()
        return outcome


class LimitAdminForm(EditForm, LimitForm):
    pass


@admin.register(RateLimit)
class RateLimitAdmin(SoftDeleteAdmin):
    form = LimitAdminForm
    list_display = ("name", "owner_column", "path_column", "limit_column", "mode_column", "updated")
    list_filter = (
        OwnerFilter,
        "tier",
        "mode",
        "window",
        "unit",
        "overall",
        MethodFilter,
        ("created_at", admin.DateFieldListFilter),
    )
    list_select_related = ("tier", "user")
    search_fields = ("name_folded__has", "path", "user__username__has")
    autocomplete_fields = ("tier", "user")
    fieldsets = (
        ("Applies to", {"fields": (("tier", "user"), "path", ("method", "host"))}),
        ("Quota", {"fields": (("limit", "unit"), ("window", "period"), "ends_at")}),
        ("Options", {"fields": ("overall", ("mode", "name"))}),
    )
    row_actions = (Observe(), Enforce(), DeleteLimit(), RestoreLimit())
    change_form_template = "admin/ratelimits/change_form.html"
    change_list_template = "admin/ratelimits/change_list.html"
    empty_advice = "A rate limit says how many requests users of a tier can make to a path in a period."
    extra_columns = ("created",)
    updated = when("updated_at", "Edited")
    created = when("created_at", "Created")

    @property
    def undo_actions(self) -> Sequence[Action]:
        return (*self.row_actions, PutBackLimit())

    @admin.display(description="Requests to", ordering="path")
    def path_column(self, limit: RateLimit) -> str:
        return format_html('<span class="mono">{}</span>', limit.requests)

    @admin.display(description="Tier or user", ordering="tier__name")
    def owner_column(self, limit: RateLimit) -> str:
        if limit.user is None:
            return str(limit.tier)
        ended = limit.ends_at is not None and limit.ends_at <= timezone.now()
        return format_html(
            '<a href="{}">{}</a> {}', limit.user.get_absolute_url(), limit.user, badge("ended") if ended else ""
        )

    @admin.display(description="Limit", ordering="limit")
    def limit_column(self, limit: RateLimit) -> str:
        return limit.in_words

    @admin.display(description="Mode", ordering="mode")
    def mode_column(self, limit: RateLimit) -> str:
        enforced = limit.mode == RateLimit.Mode.ENFORCE
        return badge("enforced", "ok") if enforced else badge("observe only", "warn")

    # --- Form ---

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        # Fields that can't be changed would show seconds.
        return [(name, {"fields": in_full(options["fields"])}) for name, options in fieldsets]

    @admin.display(description="Period")
    def period_column(self, limit: RateLimit) -> str:
        return period_in_full(limit.period)

    # --- Saving ---

    def save_model(self, request: HttpRequest, obj: RateLimit, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        forget_rules()
        for sentence in notes_on_neighbours(obj):
            self.tell(request, sentence, messages.WARNING)


def in_full(fields: Any) -> list[Any]:
    return [
        in_full(field) if isinstance(field, tuple) else "period_column" if field == "period" else field
        for field in fields
    ]


def notes_on_neighbours(limit: RateLimit) -> list[str]:
    if limit.overall:
        return []
    rivals = limit.siblings().filter(overall=False, host=limit.host).values_list("method", "path")
    taken = takes_over_from((limit.method, limit.path), list(rivals))
    notes = [
        f"{rule} no longer applies: more specific rate limits match all of its requests."
        if all_of_them
        else f"Requests that match {limit.path} no longer count toward {rule}, which is less specific."
        for rule, all_of_them in taken.items()
    ][:MAX_NOTES]
    if taken and limit.mode == RateLimit.Mode.OBSERVE:
        notes.append("In observe mode, this rate limit doesn't limit those requests at all.")
    return notes


# --- The page of a tier ---


class RateLimitInline(admin.StackedInline):  # type: ignore[type-arg]
    model = RateLimit
    form = LimitForm
    formset = TierLimits
    template = "admin/ratelimits/limits_of_tier.html"
    formfield_overrides: ClassVar[dict[Any, Any]] = {PeriodField: {}}
    extra = 3
    max_num = MAX_ON_PAGE + extra
    fieldsets = (
        (
            None,
            {
                "fields": (
                    ("path", "method", "host"),
                    ("limit", "unit", "period", "window"),
                    ("mode", "name", "overall"),
                )
            },
        ),
    )

    @property
    def media(self) -> Media:
        return Media()  # blank rows need no script

    def get_formset(self, request: HttpRequest, obj: Any = None, **options: Any) -> Any:
        return super().get_formset(request, obj, absolute_max=self.max_num, **options)


class PutBackWithLimits(PutBackTier):
    def put_parts_back(self, row: Tier, author: Author, operation: Operation) -> str:
        entries = operation.of(RateLimit)
        if entries and not author.user.has_perms(("ratelimits.change_ratelimit", "ratelimits.delete_ratelimit")):
            raise ValidationError("You don't have permission to change and delete rate limits.")
        # First those that were added, which may be in the way of others.
        for pk, entry in sorted(entries.items(), key=lambda item: item[1].action_flag):
            limit = row.rate_limits.select_for_update(no_key=True).filter(pk=pk).first()
            if limit is None:
                raise ValidationError(f"The rate limit “{entry.object_repr}” no longer belongs to this tier.")
            put_limit_back(limit, author, operation, entry.action_flag)
        forget_rules()
        return "Rate limits changed back." if entries else ""


def put_limit_back(limit: RateLimit, author: Author, operation: Operation, flag: int) -> None:
    """flag: of what is to be undone."""
    former = operation.former_of(limit)
    if flag == ADDITION:
        limit.delete()
        author.record(limit, DELETION, note="Deleted.")
    elif flag == DELETION:
        limit.restore()
        author.record(limit, CHANGE, note="Restored.")
    else:
        put_back(limit, former, author)


@admin.register(Tier)
class TierWithLimitsAdmin(TierAdmin):
    inlines = (RateLimitInline,)

    @property
    def undo_actions(self) -> Sequence[Action]:
        return (*self.row_actions, PutBackWithLimits())

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        pks = [row.instance.pk for row in formset.initial_forms if row.has_changed()]
        rows = list(RateLimit.objects.filter(pk__in=pks))
        before, stored = ({limit.pk: of(limit) for limit in rows} for of in (snapshot, stored_values))
        formset.save()
        author = self.author(request)
        for limit in formset.new_objects:
            author.record(limit, ADDITION, changes=initial_values(limit))
        for limit, _ in formset.changed_objects:
            changes, former = changes_between(before[limit.pk], snapshot(limit)), former_values(stored[limit.pk], limit)
            author.record(limit, CHANGE, changes=changes, former=former)
        author.record_many(formset.deleted_objects, DELETION, note="Deleted.")
        forget_rules()
        for limit in formset.new_objects if change else ():
            for sentence in notes_on_neighbours(limit):
                self.tell(request, sentence, messages.WARNING)
