"""A secret that somebody pastes into a search box stands in the address, and so in logs and the browser's history."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apikeys.secrets import contains_secret

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
        if not request.path.startswith(PAGES):
            return self.get_response(request)
        in_path = contains_secret(request.path)
        if not in_path and not contains_secret(request.META.get("QUERY_STRING", "").replace("+", " ")):
            return self.get_response(request)
        messages.warning(request, ADVICE)
        if request.user.is_authenticated and request.user.has_perm("apikeys.view_apikey"):
            return HttpResponseRedirect(reverse("staff_keys:find"))
        return HttpResponseRedirect("/account/" if in_path else request.path)
