from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.shortcuts import render

request_id: ContextVar[str] = ContextVar("request_id", default="-")

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PERMISSIONS_POLICY = (
    "accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()"
)
# For responses to machines. Pages have the same, except for their content security policy.
MACHINE_HEADERS = (
    ("Content-Security-Policy", "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"),
    ("Permissions-Policy", PERMISSIONS_POLICY),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Referrer-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
# Without includeSubDomains: gateways pass denials on to the API's clients, and its subdomains aren't ours.
MACHINE_HEADERS_OVER_HTTPS = (*MACHINE_HEADERS, ("Strict-Transport-Security", "max-age=31536000"))


def machine_headers(environ: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    name, https = settings.SECURE_PROXY_SSL_HEADER or ("wsgi.url_scheme", "https")
    return MACHINE_HEADERS_OVER_HTTPS if settings.HTTPS_ONLY and environ.get(name) == https else MACHINE_HEADERS


class Middleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response


class RequestIdMiddleware(Middleware):
    """Give each request an id for the log, error pages and the X-Request-Id header."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        token = request_id.set(uuid.uuid4().hex[:12])
        # Django logs a response with an error after all middleware.
        request.id = request_id.get()  # type: ignore[attr-defined]
        try:
            response = self.get_response(request)
            response["X-Request-Id"] = request_id.get()
        finally:
            request_id.reset(token)
        return response


class RequestIdFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = getattr(getattr(record, "request", None), "id", request_id.get())
        return True


class SecurityHeadersMiddleware(Middleware):
    """Adds what Django's SecurityMiddleware leaves out, and all headers to its own responses (301 and 400)."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        for name, value in MACHINE_HEADERS:
            response.headers.setdefault(name, value)
        return response


class CompressionMiddleware(GZipMiddleware):
    """Compress pages and downloads, with random padding against BREACH; but no response to a POST, which may show a secret."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response if request.method == "POST" else super().process_response(request, response)


class CleanQueryMiddleware(Middleware):
    """400 for a NUL character in the path or query, which PostgreSQL can't process."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\0" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            return render(request, "400.html", status=400)
        return self.get_response(request)


class NoStoreMiddleware(Middleware):
    """Keep pages for signed-in users out of all caches, including the browser's back button."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        # If the header is set, don't ask for the user: the database may be down.
        if "Cache-Control" not in response.headers and (request.user.is_authenticated or request.method == "POST"):
            response.headers["Cache-Control"] = "no-store"
        return response
