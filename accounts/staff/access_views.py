"""/users/<id>/access/: whether a user is staff, and what they can do as staff. Only superusers can change it."""

from __future__ import annotations

from copy import copy
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from accounts import services
from accounts.models import User
from accounts.staff.forms import AccessForm
from config.base.history import Author
from config.base.permissions import permission_label
from config.base.undo import FORMER, new_operation, offer_undo
from config.base.views import reject_bad_values, retry_on_conflict, staff_render, staff_required


@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("accounts.view_user")
@reject_bad_values
@retry_on_conflict
def user_access(request: HttpRequest, pk: int) -> HttpResponse:
    actor: Any = request.user
    user = get_object_or_404(User, pk=pk)
    person = copy(user)  # the form writes invalid values to `user`, too
    if not actor.is_superuser or user.deleted_at is not None:
        return shown_access(request, person)
    form = AccessForm(request.POST if request.method == "POST" else None, instance=user, actor=actor)
    if request.method == "POST" and form.is_valid():
        author = Author(actor, request, operation=new_operation())
        if services.update(form, author):
            offer_undo(request, f"Staff access of “{user}” updated.", author, FORMER, reverse("users:undo"))
        else:
            messages.info(request, "Nothing changed.")
        return redirect("users:access", user.pk)
    return staff_render(request, "accounts/staff/access.html", {"title": person.name, "person": person, "form": form})


def shown_access(request: HttpRequest, person: User) -> HttpResponse:
    """The page without a form."""
    if request.method == "POST":
        raise PermissionDenied
    own = person.user_permissions.select_related("content_type")
    context = {"title": person.name, "person": person, "permissions": [permission_label(one) for one in own]}
    return staff_render(request, "accounts/staff/access.html", context)
