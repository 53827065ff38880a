"""SITE_URL: links for emails that commands and jobs send. Emails that a request causes use the request's host."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.http.request import split_domain_port, validate_host


class SiteRequest(HttpRequest):
    """A request to this site, as far as links need one."""

    def __init__(self, host: str, scheme: str) -> None:
        super().__init__()
        self.META["HTTP_HOST"] = host
        self.site_scheme = scheme

    def _get_scheme(self) -> str:
        return self.site_scheme


def site_link(path: str) -> str:
    """The absolute URL of a path, or "" without SITE_URL."""
    return settings.SITE_URL and f"{settings.SITE_URL}{path}"


def site_request() -> SiteRequest | None:
    parts = urlsplit(settings.SITE_URL)
    return SiteRequest(parts.netloc, parts.scheme) if parts.netloc else None


def site_problem(url: str) -> str:
    """Why `url` can't be SITE_URL, as a sentence; empty if it can."""
    if not url:
        return ""
    parts = urlsplit_or_none(url)
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        return "Use a URL such as https://gatehouse.example.com."
    if "@" in parts.netloc or "?" in url or "#" in url or parts.path:
        return "Use only scheme, host and port, such as https://gatehouse.example.com."
    if settings.HTTPS_ONLY and parts.scheme != "https":
        return "Start it with https://, or set HTTPS_ONLY=false."
    if not is_allowed_host(parts.netloc):
        return "Its host isn't in ALLOWED_HOSTS, so its links wouldn't work."
    return ""


def urlsplit_or_none(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts if url.isprintable() and " " not in url else None


def is_allowed_host(netloc: str) -> bool:
    return validate_host(split_domain_port(netloc)[0], settings.ALLOWED_HOSTS)
