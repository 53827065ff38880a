"""Where keys are managed: a holder's own on the account pages, anybody's on the staff pages. The views serve both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from accounts.rights import why_not_change
from apikeys.models import APIKey, APIKeyQuerySet
from config.base.history import Author
from config.base.views import staff_render

PAGES = ("list", "create")
# The steps that the right to stop keys allows, beside the right to change them.
STOPPING = frozenset({"disable", "enable", "revoke"})
PAGES_OF_A_KEY = ("detail", "edit", "rotate", "disable", "enable", "expire", "revoke")


def may_take(user: Any, step: str) -> bool:
    """Whether a member of staff may take this step ("create", "rotate", …) with keys of ordinary accounts at all."""
    if user.has_perm("apikeys.add_apikey" if step == "create" else "apikeys.change_apikey"):
        return True
    return step in STOPPING and bool(user.has_perm("apikeys.stop_apikey"))


@dataclass(frozen=True)
class Desk:
    request: HttpRequest
    shell = ""

    @property
    def author(self) -> Author:
        return Author(self.request.user, self.request)

    def keys(self) -> APIKeyQuerySet:
        """The keys that may be managed here; any other answers as one that does not exist."""
        raise NotImplementedError

    def url(self, page: str, key: APIKey | None = None) -> str:
        raise NotImplementedError

    def check_may_manage(self, owner: Any, step: str) -> None:
        """Raise PermissionDenied unless the person who asks may take this step with keys of `owner`."""

    def find(self, key_id: UUID) -> APIKey:
        key = self.keys().select_related("user").filter(pk=key_id).first()
        if key is None:
            raise Http404("There is no such key.")
        return key

    def page(self, template: str, status: int = 200, **context: Any) -> HttpResponse:
        urls = self.urls(context.get("key"))
        return self.render(template, {"shell": self.shell, "urls": urls, **context}, status)

    def render(self, template: str, context: dict[str, Any], status: int) -> HttpResponse:
        return render(self.request, template, context, status=status)

    def urls(self, key: APIKey | None) -> dict[str, str]:
        """The addresses of this desk's pages by name, those of one key only if there is one."""
        names = [*PAGES, *(PAGES_OF_A_KEY if key is not None else ())]
        return {name: self.url(name, key if name in PAGES_OF_A_KEY else None) for name in names}


class HolderDesk(Desk):
    shell = "base/account.html"

    def keys(self) -> APIKeyQuerySet:
        return APIKey.objects.live().filter(user=self.request.user)  # type: ignore[misc]

    def url(self, page: str, key: APIKey | None = None) -> str:
        return reverse(f"keys:{page}", args=[key.pk] if key else [])


class StaffDesk(Desk):
    shell = "base/staff.html"

    def keys(self) -> APIKeyQuerySet:
        return APIKey.objects.all()

    def url(self, page: str, key: APIKey | None = None) -> str:
        page = {"list": "changelist", "create": "add", "detail": "change", "edit": "change"}.get(page, page)
        return reverse(f"admin:apikeys_apikey_{page}", args=[key.pk] if key else [])

    def check_may_take(self, step: str) -> None:
        """Raise PermissionDenied unless the person who asks may take this step with anybody's keys."""
        if not may_take(self.request.user, step):
            raise PermissionDenied

    def check_may_manage(self, owner: Any, step: str) -> None:
        user = self.request.user
        self.check_may_take(step)
        reason = why_not_change(user, owner)  # type: ignore[arg-type]  # admin_view lets only staff in
        if reason:
            raise PermissionDenied(reason)

    def render(self, template: str, context: dict[str, Any], status: int) -> HttpResponse:
        return staff_render(self.request, template, context, status)
