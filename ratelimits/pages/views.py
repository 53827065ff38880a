"""Pages about limits: for staff, how they work on requests; for account holders, what is left of theirs."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from config.base.history import Author
from config.base.views import retry_on_conflict, staff_render, staff_required
from ratelimits.advice import rule_in_words
from ratelimits.budgets import Budget, BudgetState, rate_in_words
from ratelimits.limiter import limiter, store_name
from ratelimits.matching import Match
from ratelimits.models import Outage, RateLimit, Refusal
from ratelimits.pages.forms import CopyForm, MatchForm
from ratelimits.register import register
from ratelimits.rules import Rule, budgets_for, compiled, default_budget, owner_of_user, rows_of_tier
from ratelimits.services import copy_limits, plan_copy, reset_owner, user_of
from ratelimits.stores import StoreUnavailable

ROWS_A_PAGE = 50
MOST_SHOWN_TO_HOLDER = 100


def page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    return staff_render(request, template, {"title": title, **context})


# --- Match tester ---


@staff_required("ratelimits.view_ratelimit")
@require_safe
def match_tester(request: HttpRequest) -> HttpResponse:
    """Which limits apply to a request, and why: all patterns that match, the winner first."""
    form = MatchForm(request.GET) if "path" in request.GET else MatchForm()
    context = match_context(form) if form.is_bound and form.is_valid() else {}
    return page(request, "ratelimits/pages/match_tester.html", "Match tester", form=form, **context)


def match_context(form: MatchForm) -> dict[str, Any]:
    data = form.cleaned_data
    user, method = data["user"], data["method"]
    tier = user.effective_tier if user is not None else data["tier"]
    matches = [] if tier is None else candidates(tier.pk, method, form.canonical)
    context = {"tier": tier, "user_found": user, "method": method, "canonical": form.canonical, "matches": matches}
    if user is not None:
        budgets = budgets_for(owner_of_user(user.pk), tier.pk if tier else None, method, form.canonical)
        context["states"] = limiter().peek(budgets).states
    default = default_budget("")
    return context | {"default_words": rate_in_words(default.limit, default.period)}


def candidates(tier_id: int, method: str, path: str) -> list[dict[str, Any]]:
    # Compiled for this page: it shows the rules as they are now, not as they were up to 5 seconds ago.
    trie = compiled(rows_of_tier(tier_id))
    return [described(match) for match in trie.candidates(path, method)]


def described(match: Match[Rule]) -> dict[str, Any]:
    return {"rule": rule_in_words((match.method or "any", match.pattern)), "limits": match.values}


# --- Who is being limited right now ---


@staff_required("ratelimits.view_ratelimit")
@require_safe
def limited_now(request: HttpRequest) -> HttpResponse:
    """The budgets that had no room in the last minutes, each as it stands now, and the store's outages."""
    register.flush()  # what other workers hold back comes within a second
    shown = Paginator(Refusal.objects.recent().select_related("rate_limit__tier"), ROWS_A_PAGE).get_page(
        request.GET.get("page")
    )
    refusals = list(shown.object_list)
    states = peeked(refusals)
    rows = [
        {"refusal": refusal, "state": states.get(refusal.key), "user": user}
        for refusal, user in zip(refusals, users_of(refusals), strict=True)
    ]
    return page(
        request,
        "ratelimits/pages/limited_now.html",
        "Limited right now",
        rows=rows,
        page_obj=shown,
        outages=Outage.objects.all()[:10],
        store=store_name(),
        away=limiter().breaker.is_open,
        fail_open=settings.RATE_LIMIT_FAIL_OPEN,
        may_reset=request.user.has_perm("ratelimits.change_ratelimit"),
    )


def peeked(refusals: list[Refusal]) -> dict[str, BudgetState]:
    outcome = limiter().peek([refusal.budget for refusal in refusals])
    return {state.budget.key: state for state in outcome.states}


def users_of(refusals: list[Refusal]) -> list[Any]:
    """The account behind each refusal, or None; one query."""
    ids = {refusal.owner: refusal.owner.removeprefix("user:") for refusal in refusals}
    found = get_user_model()._default_manager.in_bulk([int(pk) for pk in ids.values() if pk.isdigit()])
    return [found.get(int(pk)) if (pk := ids[refusal.owner]).isdigit() else None for refusal in refusals]


@staff_required("ratelimits.change_ratelimit")
@require_POST
def reset(request: HttpRequest) -> HttpResponse:
    """Give one person, or address, all budgets back."""
    owner = request.POST.get("owner", "")
    get_object_or_404(Refusal.objects.filter(owner=owner)[:1])
    name = user_of(owner) or owner
    try:
        reset_owner(owner, Author(request.user, request))
    except StoreUnavailable:
        messages.error(request, "The store of the counters is away, so nothing was reset. Try again in a moment.")
    else:
        messages.success(request, f"All counters of {name} are reset.")
    return redirect("ratelimits:limited_now")


# --- Copying a tier's limits ---


@staff_required("ratelimits.add_ratelimit")
@retry_on_conflict
def copy(request: HttpRequest) -> HttpResponse:
    """Choose two tiers (GET), see what would be copied, and copy it (POST)."""
    data = request.POST if request.method == "POST" else request.GET if "source" in request.GET else None
    form = CopyForm(data)
    if data is None or not form.is_valid():
        return page(request, "ratelimits/pages/copy.html", "Copy limits", form=form)
    source, target = form.cleaned_data["source"], form.cleaned_data["target"]
    if request.method == "POST":
        done = copy_limits(source, target, Author(request.user, request))
        messages.success(
            request, f"{len(done.new):,} copied from “{source}” to “{target}”, {len(done.left_out):,} left out."
        )
        for limit, reason in done.left_out:
            messages.warning(request, f"Left out: {limit.path}, {limit.in_words}. {reason}")
        return HttpResponseRedirect(f"{reverse('admin:ratelimits_ratelimit_changelist')}?tier__id__exact={target.pk}")
    plan = plan_copy(source, target)
    return page(
        request, "ratelimits/pages/copy.html", "Copy limits", form=form, plan=plan, source=source, target=target
    )


# --- The holder's own limits ---


@login_required
@require_safe
def account_limits(request: HttpRequest) -> HttpResponse:
    """What the account may do, and what is left of it."""
    user: Any = request.user
    tier, owner = user.effective_tier, owner_of_user(user.pk)
    limits = [] if tier is None else tier.rate_limits.live().filter(mode=RateLimit.Mode.ENFORCE)[:MOST_SHOWN_TO_HOLDER]
    default = default_budget(owner)
    places = {limit.budget(owner): f"{limit.method} {limit.path}".strip() for limit in limits}
    outcome = limiter().peek([*places, default])
    states = {state.budget: state for state in outcome.states}
    rows = [standing(place, budget, states) for budget, place in places.items()]
    rows.append(standing("everything else" if places else "everything", default, states))
    context = {"title": "Limits", "tier": tier, "rows": rows, "degraded": outcome.degraded}
    return render(request, "ratelimits/pages/account_limits.html", context)


def standing(place: str, budget: Budget, states: dict[Budget, BudgetState]) -> dict[str, Any]:
    state = states.get(budget)
    whole_at = dt.datetime.fromtimestamp(state.resets_at, dt.UTC) if state and state.reset_after else None
    return {
        "place": place,
        "words": rate_in_words(budget.limit, budget.period, budget.window),
        "state": state,
        "whole_at": whole_at,
    }
