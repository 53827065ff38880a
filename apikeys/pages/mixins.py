"""Where keys are managed: your own under /account/keys/, everyone's in the admin. The views serve both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse

from accounts.rights import may_change
from apikeys.models import APIKey, APIKeyQuerySet
from apikeys.pages.actions import ACTIONS, KeyAction
from config.base.views import staff_render


class KeysMixin:
    request: HttpRequest
    kwargs: dict[str, Any]
    shell: str
    renderer: Any
    get_queryset: Callable[[], APIKeyQuerySet]
    # Of "list", "detail", "edit" or the name of an action; and the key, if there is one.
    page_url: Callable[..., str]

    def get_object(self) -> APIKey:
        key: APIKey = get_object_or_404(self.get_queryset(), pk=self.kwargs["key_id"])
        return key

    def offers(self, action: KeyAction, key: APIKey) -> bool:
        return action.name in key.actions

    def offered_actions(self, key: APIKey) -> list[tuple[KeyAction, str]]:
        return [(action, self.page_url(action.name, key)) for action in ACTIONS if self.offers(action, key)]

    def page(self, template: str, status: int = 200, **context: Any) -> HttpResponse:
        key, urls = context.get("key"), {"list": self.page_url("list")}
        if key is not None:
            urls |= {page: self.page_url(page, key) for page in ("detail", "edit", "rotate")}
            context["actions"] = self.offered_actions(key)
        context |= {"shell": self.shell, "urls": urls}
        response: HttpResponse = self.renderer(self.request, template, context, status=status)
        return response


class OwnerKeysMixin(LoginRequiredMixin, KeysMixin):
    """Anyone else's key answers like one that doesn't exist."""

    shell = "base/account.html"
    renderer = staticmethod(render)

    def get_queryset(self) -> APIKeyQuerySet:
        keys: APIKeyQuerySet = APIKey.objects.live().filter(user=self.request.user)  # type: ignore[misc]
        return keys.select_related("user")

    def page_url(self, page: str, key: APIKey | None = None) -> str:
        return reverse(f"keys:{page}", args=[key.pk] if key else [])

    def may(self) -> bool:
        return True

    def allowed(self, rows: APIKeyQuerySet) -> APIKeyQuerySet:
        return rows


class StaffKeysMixin(KeysMixin):
    shell = "base/staff.html"
    renderer = staticmethod(staff_render)

    def get_queryset(self) -> APIKeyQuerySet:
        keys: APIKeyQuerySet = APIKey.objects.select_related("user")
        return keys

    def page_url(self, page: str, key: APIKey | None = None) -> str:
        admin_pages = {"list": "changelist", "detail": "change", "edit": "change", "undo": "undo"}
        name = f"admin:apikeys_apikey_{admin_pages[page]}" if page in admin_pages else f"staff_keys:{page}"
        return reverse(name, args=[key.pk] if key else [])

    def offers(self, action: KeyAction, key: APIKey) -> bool:
        user: Any = self.request.user
        return super().offers(action, key) and action.may(user, APIKey) and may_change(user, key.user)
