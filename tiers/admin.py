"""The Tiers section of the staff pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from config.base.admin import when
from config.base.admin_soft_delete import DELETE, SoftDeleteAdmin
from config.base.text import counted
from tiers.forms import EmptyTierForm
from tiers.models import Tier
from tiers.services import delete_tier


@admin.register(Tier)
class TierAdmin(SoftDeleteAdmin):
    list_display = ("name", "users", "limits", "description", "created")
    list_filter = (("created_at", admin.DateFieldListFilter),)
    search_fields = ("name_folded__has", "description_folded__has")
    ordering = ("name",)
    confirm_template = "admin/tiers/confirm.html"
    change_form_template = "admin/tiers/change_form.html"
    empty_advice = "A tier bundles rate limits; each account is on one. Begin with “free”, the tier of new accounts."
    created = when("created_at", "Created")

    def get_queryset(self, request: HttpRequest) -> Any:
        tiers: Any = super().get_queryset(request)
        return tiers.with_use_counts()

    @admin.display(description="Users", ordering="user_count")
    def users(self, tier: Any) -> str:
        return self.link(f"{reverse('users:list')}?tier={tier.pk}", tier.user_count)

    @admin.display(description="Limits", ordering="limit_count")
    def limits(self, tier: Any) -> str:
        return self.link(
            f"{reverse('admin:ratelimits_ratelimit_changelist')}?tier__id__exact={tier.pk}", tier.limit_count
        )

    def link(self, url: str, count: int) -> str:
        return format_html('<a href="{}">{}</a>', url, f"{count:,}")

    # --- Deleting one that is in use ---

    def consequences(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> list[str]:
        if verb != DELETE:
            return ["The tier can be given to accounts again; its limits apply to those who are still on it."]
        return ["The tier can no longer be given to accounts.", "Nothing is removed: you can restore it at any time."]

    def obstacle(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> str:
        if verb == DELETE:
            try:
                Tier.objects.filter(pk__in=[row.pk for row in rows]).refuse_default()
            except ValidationError as error:
                return str(error.messages[0])
        used = Tier.objects.filter(pk__in=[row.pk for row in rows]).in_use().with_use_counts() if verb == DELETE else []
        if len(rows) == 1 or not used:
            return ""
        names = ", ".join(
            f"“{tier}” ({counted(tier.user_count, 'account')}, {counted(tier.limit_count, 'rate limit')})"
            for tier in used[:10]
        )
        return f"In use: {names}. Delete these one by one, where you can move their accounts to another tier."

    def confirmation_extras(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> dict[str, Any]:
        if verb != DELETE or len(rows) != 1:
            return {}
        tier: Any = Tier.objects.filter(pk=rows[0].pk).with_use_counts().get()
        return {
            "tier": tier,
            "form": self.emptying_form(request, tier),
            "some_users": tier.users.live()[:10],
            "some_limits": tier.rate_limits.live()[:10],
        }

    def emptying_form(self, request: HttpRequest, tier: Any) -> EmptyTierForm:
        data = request.POST if request.method == "POST" and "action" not in request.POST else None
        return EmptyTierForm(data, tier=tier, users=tier.user_count, limits=tier.limit_count)

    def carry_out(self, request: HttpRequest, rows: Sequence[Any], verb: str) -> None:
        if verb != DELETE:
            super().carry_out(request, rows, verb)
            return
        for tier in sorted(rows, key=lambda tier: tier.pk):  # the order in which others lock tiers
            delete_tier(tier, self.author(request), **self.emptying(request, tier))

    def emptying(self, request: HttpRequest, row: Tier) -> dict[str, Any]:
        """What the person chose for the accounts and limits of the tier; raises ValidationError for a choice that is none."""
        if "action" in request.POST:
            return {}
        form = self.emptying_form(request, Tier.objects.filter(pk=row.pk).with_use_counts().get())
        if not form.is_valid():
            raise ValidationError("This tier is in use. Say below what shall become of its accounts and limits.")
        self.refuse_without_rights(request, form.cleaned_data)
        return form.cleaned_data

    def refuse_without_rights(self, request: HttpRequest, chosen: dict[str, Any]) -> None:
        user: Any = request.user
        if "move_users_to" in chosen and not user.has_perm("accounts.change_user"):
            raise ValidationError("Moving accounts to another tier takes the right to change users, which you lack.")
        if "delete_limits" in chosen and not user.has_perm("ratelimits.delete_ratelimit"):
            raise ValidationError("Deleting its limits takes the right to delete rate limits, which you lack.")
