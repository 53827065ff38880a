"""/instance/…: the logo and the accent color, for the pages of everyone."""

from __future__ import annotations

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from config.base import branding

# URLs change with the content.
cached = cache_control(public=True, max_age=365 * 24 * 3600, immutable=True)


@require_safe
@cached
def accent(request: HttpRequest) -> HttpResponse:
    if not settings.ACCENT_COLOR:
        raise Http404
    return HttpResponse(branding.accent_css(settings.ACCENT_COLOR), content_type="text/css; charset=utf-8")


@require_safe
@cached
def logo(request: HttpRequest) -> HttpResponse:
    found = branding.logo(settings.INSTANCE_LOGO)
    if found is None:
        raise Http404
    # An SVG can have styles of its own, and scripts, which don't run here.
    policy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    return HttpResponse(found.content, content_type=found.content_type, headers={"Content-Security-Policy": policy})
