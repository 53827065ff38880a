"""A secret that somebody pastes into a search box stands in the address, and so in logs and the browser's history."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import unquote_plus

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apikeys.secrets import holds_secret

PAGES = ("/admin/", "/users/", "/account/", "/accounts/")
ADVICE = (
    "That was the secret of a key. It must not stand in an address, where logs keep it. Rotate the key, or revoke it if you "
    "do not know who uses it."
)


class SecretInQueryMiddleware:
    """Take a secret in the query string of a page out of the address, and say so; nothing is searched, shown or kept."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        query = request.META.get("QUERY_STRING", "")
        if query and request.path.startswith(PAGES) and holds_secret(unquote_plus(query)):
            messages.warning(request, ADVICE)
            may_find = request.user.is_authenticated and request.user.has_perm("apikeys.view_apikey")
            return HttpResponseRedirect(reverse("admin:apikeys_apikey_find") if may_find else request.path)
        return self.get_response(request)
