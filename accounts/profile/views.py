"""/account/: users' own pages."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.core.exceptions import BadRequest, ValidationError
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import services
from accounts.addresses import is_verified
from accounts.models import User
from accounts.profile.forms import CloseForm, PictureForm, ProfileForm, SettingsForm, ThemeForm
from accounts.profile.limits import applicable_limits, effective_limits
from accounts.profile.picture_views import picture_response
from config.base.history import Author
from config.base.http import local_url
from config.base.undo import FORMER, new_operation, offer_undo
from config.base.views import retry_on_conflict
from ratelimits.rules import default_budget


@require_safe
def home(request: HttpRequest) -> HttpResponseRedirect:
    if not request.user.is_authenticated:
        return redirect(settings.LOGIN_URL)
    return redirect("admin:index" if request.user.is_staff else "account:profile")


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@retry_on_conflict
def profile(request: HttpRequest) -> HttpResponse:
    # Not request.user: the form writes invalid values to its instance, and the top bar shows the stored name.
    user = signed_in_user(request)
    form = ProfileForm(request.POST if request.method == "POST" else None, instance=user)
    if form.is_valid():
        author = Author(user, request, operation=new_operation())
        if services.update(form, author):
            offer_undo(request, "Profile updated.", author, FORMER, reverse("account:undo"))
        return redirect("account:profile")
    return profile_page(request, form=form)


def signed_in_user(request: HttpRequest) -> User:
    """404 if they've been deleted or suspended since the request began."""
    user: User = get_object_or_404(User.objects.effective().select_related("tier"), pk=request.user.pk)
    return user


def profile_page(request: HttpRequest, status: int = 200, **forms: Any) -> HttpResponse:
    user = signed_in_user(request)
    [limits] = applicable_limits([user], with_observed=False)
    context = {
        "title": "Your profile",
        "person": user,
        "verified": is_verified(user),
        "tier": user.effective_tier,
        "limits": [*limits.own, *limits.of_tier],
        "default_words": default_budget("").in_words if limits.default_applies else "",
        "form": ProfileForm(instance=user),
        "picture_form": PictureForm(),
    }
    return render(request, "accounts/profile/profile.html", context | forms, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
@retry_on_conflict
def settings_page(request: HttpRequest) -> HttpResponse:
    user = signed_in_user(request)
    form = SettingsForm(request.POST if request.method == "POST" else None, instance=user)
    if form.is_valid():
        if services.update(form, Author(user, request)):
            messages.success(request, "Settings saved.")
        return redirect("account:settings")
    return render(request, "accounts/profile/settings.html", {"title": "Settings", "form": form})


@require_POST
@login_required
def theme(request: HttpRequest) -> HttpResponse:
    """The button in the top bar, which returns to its page. gatehouse.js submits it in the background."""
    form = ThemeForm(request.POST)
    if not form.is_valid():
        raise BadRequest("There is no such theme.")
    User.objects.filter(pk=request.user.pk).update(**form.cleaned_data)
    return HttpResponseRedirect(local_url(request, request.POST.get("next", ""), reverse("home")))


@require_POST
@login_required
@retry_on_conflict
def picture_change(request: HttpRequest) -> HttpResponse:
    form = PictureForm(request.POST, request.FILES)
    if not form.is_valid():
        return profile_page(request, picture_form=form)
    user = signed_in_user(request)
    services.set_picture(user, form.cleaned_data["picture"], Author(user, request))
    messages.success(request, "Picture updated.")
    return redirect("account:profile")


@require_POST
@login_required
@retry_on_conflict
def picture_remove(request: HttpRequest) -> HttpResponse:
    user = signed_in_user(request)
    if user.profile_image:
        services.set_picture(user, None, Author(user, request))
        messages.success(request, "Picture removed.")
    return redirect("account:profile")


@require_safe
@login_required
def picture(request: HttpRequest) -> FileResponse:
    return picture_response(signed_in_user(request))


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def close(request: HttpRequest) -> HttpResponse:
    user = signed_in_user(request)
    form = CloseForm(request.POST if request.method == "POST" else None, request=request, user=user)
    if form.is_valid():
        try:
            services.close(user, Author(user, request))
        except ValidationError as error:
            form.add_error(None, error)
        else:
            logout(request)
            messages.success(request, "Account closed.")
            return HttpResponseRedirect(reverse(settings.LOGIN_URL))
    keys = User.objects.filter(pk=user.pk).effective_keys().count()
    return render(request, "accounts/profile/close.html", {"title": "Close your account", "form": form, "keys": keys})


@require_safe
@login_required
def limits(request: HttpRequest) -> HttpResponse:
    user = signed_in_user(request)
    effective = effective_limits(user, with_observed=False)
    context = {
        "title": "Rate limits",
        "tier": user.effective_tier,
        "tier_until": None if user.tier_has_ended else user.tier_until,
        "rows": effective.rows,
        "degraded": effective.degraded,
    }
    return render(request, "accounts/profile/limits.html", context)
