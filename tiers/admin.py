"""The Tiers section of the admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html

from config.base.access import Permission
from config.base.actions import ActionOutcome
from config.base.admin import when
from config.base.admin_soft_delete import Delete, Restore, SoftDeleteAdmin
from config.base.edits import PutBack
from config.base.history import Author, Change
from config.base.text import counted
from config.base.undo import Operation, put_back
from tiers.forms import EmptyTierForm, TierForm
from tiers.models import Tier
from tiers.services import delete_tier, move_back, replace_access, restore_limits

MAX_NAMED = 10


def users_link(tier: Tier, text: str) -> str:
    return format_html('<a href="{}?tier={}">{}</a>', reverse("users:list"), tier.pk, text)


def limits_link(tier: Tier, text: str) -> str:
    url = reverse("admin:ratelimits_ratelimit_changelist")
    return format_html('<a href="{}?tier__id__exact={}">{}</a>', url, tier.pk, text)


def named(rows: Any) -> str:
    names = [str(row) for row in rows[: MAX_NAMED + 1]]
    return ", ".join(names[:MAX_NAMED]) + (" …" if len(names) > MAX_NAMED else "")


class DeleteTier(Delete):
    """The page of one tier offers to move its users and to delete its rate limits; in bulk, none may be in use."""

    sentences = ("You can no longer assign it to users.", *Delete.sentences)
    form_class = EmptyTierForm

    def effects(self, rows: Any) -> Sequence[str]:
        effects = [*self.sentences]
        if rows.count() == 1:
            tier = rows.get()
            users, limits = tier.users.live(), tier.rate_limits.live()
            if users:
                link = users_link(tier, counted(users.count(), "user"))
                effects.append(format_html("On this tier: {} ({}).", link, named(users)))
            if limits:
                link = limits_link(tier, counted(limits.count(), "rate limit"))
                effects.append(format_html("Part of this tier: {} ({}).", link, named(limits)))
        return effects

    def obstacle(self, rows: Any) -> str:
        try:
            rows.refuse_default()
        except ValidationError as error:
            return str(error.messages[0])
        used = rows.in_use().with_use_counts()[:MAX_NAMED] if rows.count() > 1 else ()
        names = ", ".join(
            f"“{tier}” ({counted(tier.user_count, 'user')}, {counted(tier.limit_count, 'rate limit')})" for tier in used
        )
        return f"In use: {names}. Delete these one by one, and move their users to another tier." if names else ""

    def perform(self, rows: Any, author: Author, data: dict[str, Any]) -> ActionOutcome:
        for name, permission, verb in (
            ("move_users_to", "accounts.change_user", "change users"),
            ("delete_limits", "ratelimits.delete_ratelimit", "delete rate limits"),
        ):
            if name in data and not author.user.has_perm(permission):
                raise ValidationError({name: f"You don't have permission to {verb}."})
        with transaction.atomic():
            tiers = list(rows.order_by("pk"))  # the order in which others lock tiers
            for tier in tiers:
                delete_tier(tier, author, **data)
        return ActionOutcome(len(tiers))


# What is restored with a tier when its deletion is undone.
WITH_TIER = (
    (move_back, "accounts.change_user", "change users, so they weren't moved back."),
    (restore_limits, "ratelimits.delete_ratelimit", "delete rate limits, so those of the tier weren't restored."),
)


class RestoreTier(Restore):
    sentences = ("You can assign the tier to users again. Its rate limits apply to those who are still on it.",)

    def perform(self, rows: Any, author: Author, data: dict[str, Any]) -> ActionOutcome:
        tiers = list(rows)
        with transaction.atomic():
            outcome = super().perform(rows, author, data)
            for service, permission, reason in WITH_TIER if "operation" in data else ():
                if author.user.has_perm(permission):
                    for tier in tiers:
                        service(tier, author, data["operation"])
                else:
                    outcome.refused.append(f"You don't have permission to {reason}")
        return outcome


class PutBackTier(PutBack):
    def put_back(self, row: Any, author: Author, operation: Operation) -> None:
        former = operation.former_of(row)
        access, note = former.pop("access", None), self.put_parts_back(row, author, operation)
        changes = replace_access(row, [Permission(*rule) for rule in access]) if access is not None else []
        put_back(row, former, author, changes=changes, note=note)

    def put_parts_back(self, row: Any, author: Author, operation: Operation) -> str:
        """What was changed together with the tier. Returns a sentence for the history, empty if there was nothing."""
        raise NotImplementedError


class TierAdmin(SoftDeleteAdmin):
    """Registered by ratelimits.admin, which adds the rate limits of a tier to its page."""

    form = TierForm
    row_actions = (DeleteTier(), RestoreTier())
    fieldsets = (
        (None, {"fields": ("name", "description")}),
        ("Key policy", {"fields": (("max_keys", "max_key_days"),)}),
    )
    list_display = ("name", "users", "limits", "description", "created")
    list_filter = (("created_at", admin.DateFieldListFilter),)
    search_fields = ("name_folded__has", "description_folded__has")
    ordering = ("name",)
    change_form_template = "admin/tiers/change_form.html"
    change_list_template = "admin/tiers/change_list.html"
    empty_advice = "A tier bundles rate limits, and every user can be on one. Start with “free”, the tier of new users."
    extra_columns = ("updated",)
    created = when("created_at", "Created")
    updated = when("updated_at", "Edited")

    def get_queryset(self, request: HttpRequest) -> Any:
        tiers: Any = super().get_queryset(request)
        return tiers.with_use_counts()

    @admin.display(description="Users", ordering="user_count")
    def users(self, tier: Any) -> str:
        return users_link(tier, f"{tier.user_count:,}")

    @admin.display(description="Rate limits", ordering="limit_count")
    def limits(self, tier: Any) -> str:
        return limits_link(tier, f"{tier.limit_count:,}")

    # --- Form ---

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        tier = context["original"]
        context["access"] = tier.access.all() if tier is not None else ()
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Tier, form: Any, change: bool) -> None:
        held = [rule.permission for rule in obj.access.all()] if change else []
        super().save_model(request, obj, form, change)
        obj.access_changes = replace_access(obj, form.permissions) if form.permissions is not None else []  # type: ignore[attr-defined]
        if change and obj.access_changes:  # type: ignore[attr-defined]
            obj._former["access"] = held  # type: ignore[attr-defined]

    def changes_of_parts(self, obj: Any) -> Sequence[Change]:
        changes: Sequence[Change] = obj.access_changes
        return changes
