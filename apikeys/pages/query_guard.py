"""Secrets pasted into a search box end up in the URL, and so in logs and in the browser's history."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from apikeys.secrets import contains_secret
from config.middleware import Middleware

PAGES = ("/admin/", "/users/", "/account/", "/accounts/")
ADVICE = (
    "You searched for a key's secret. It was part of the URL, so it's now in logs. Rotate the key, or revoke it if you "
    "don't know who uses it."
)


class SecretInQueryMiddleware(Middleware):
    """Redirect to a URL without the secret and warn. Nothing is searched for, shown or stored."""

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
