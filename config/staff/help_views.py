"""/help/: keyboard shortcuts, for everyone; and the documentation, for staff."""

from __future__ import annotations

import mimetypes

from django.contrib.auth.decorators import login_required
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_safe

from config.base.views import staff_render, staff_required
from config.staff import manual

SHORTCUTS = (
    ("?", "Show this help", False),
    ("/ or Ctrl K", "Search or type an action", True),
    ("↓ ↑ Enter", "Choose a suggestion", True),
    ("Esc", "Close a menu or this help", False),
)


@require_safe
@login_required
def shortcuts(request: HttpRequest) -> HttpResponse:
    """from: the path of the screen that the help is about."""
    is_staff = request.user.is_staff
    context = {"title": "Help", "shortcuts": [row[:2] for row in SHORTCUTS if is_staff or not row[2]]}
    if not is_staff:
        return render(request, "help/help.html", context | {"shell": "base/account.html"})
    name = manual.page_about(request.GET.get("from", ""))
    path = manual.files().get(name)
    about = {"about": manual.document(name, path).title, "about_url": manual.page_url(name)} if path else {}
    return staff_render(request, "help/help.html", context | about | {"shell": "base/staff.html"})


@require_safe
@staff_required()
def page(request: HttpRequest, name: str) -> HttpResponseBase:
    path = manual.files().get(name)
    if path is None:
        raise Http404
    if path.suffix == ".md":
        found = manual.document(name, path)
        context = {"title": found.title, "document": found, "is_index": name == manual.INDEX}
        return staff_render(request, "help/page.html", context)
    kind, _ = mimetypes.guess_type(path)
    is_image = kind is not None and kind.startswith("image/")
    return FileResponse(path.open("rb"), content_type=kind if is_image else "text/plain; charset=utf-8")
