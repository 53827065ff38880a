"""Staff pages about rate limits: which apply to a request, who exceeds them, copying them between tiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.http import require_POST, require_safe

from config.base.history import Author
from config.base.paginator import rows_per_page
from config.base.text import counted
from config.base.views import retry_on_conflict, staff_render, staff_required
from ratelimits.budgets import BudgetState
from ratelimits.limiter import limiter, store_name
from ratelimits.models import Denial, Outage
from ratelimits.pages.forms import CopyForm, MatchForm
from ratelimits.recorder import recorder
from ratelimits.rules import (
    NO_RULES,
    Rules,
    budgets_for,
    compiled,
    default_budget,
    lines_of,
    overall_matches,
    rows_of,
    specific_matches,
)
from ratelimits.services import copy_limits, plan_copy, reset_owner, user_of
from ratelimits.stores import StoreUnavailable


def page(request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
    return staff_render(request, template, {"title": title, **context})


# --- Match tester ---


@method_decorator(staff_required("ratelimits.view_ratelimit"), name="dispatch")
class MatchTester(View):
    """Which rate limits apply to a request, and why: all patterns that match, the winner first."""

    form_class = MatchForm

    def get(self, request: HttpRequest) -> HttpResponse:
        form = self.form_class(request.GET) if "path" in request.GET else self.form_class()
        context = match_context(form) if form.is_bound and form.is_valid() else {}
        return page(request, "ratelimits/pages/match_tester.html", "Match tester", form=form, **context)


def match_context(form: MatchForm) -> dict[str, Any]:
    data = form.cleaned_data
    tier, method = data["tier"], data["method"]
    context = {
        "tier": tier,
        "user_found": data.get("user"),
        "method": method,
        "canonical": form.canonical,
        "host": data["host"],
        # Not from the cache: the rules as they are now.
        **candidates(compiled(rows_of(tier_id=tier.pk)) if tier else NO_RULES, form),
        "default_words": default_budget("").in_words,
    }
    if form.owner:
        tier_id = tier.pk if tier else None
        request = (method, form.canonical, data["host"])
        budgets = budgets_for(form.owner, tier_id, *request, own=form.own, billing_day=form.billing_day)
        context["lines"] = lines_of(limiter().peek(budgets).states)
    return context


def candidates(tier: Rules, form: MatchForm) -> dict[str, Any]:
    """The patterns that match, the winner first, the overall ones, and those that the user's own ones replace."""
    request = (form.cleaned_data["method"], form.canonical, form.cleaned_data["host"])
    matches = list(specific_matches(tier, form.own, *request))
    overall = list(overall_matches(tier, form.own, *request))
    of_tier = [*specific_matches(tier, NO_RULES, *request), *overall_matches(tier, NO_RULES, *request)]
    return {
        "matches": matches,
        "overall": overall,
        "replaced": [match for match in of_tier if match not in [*matches, *overall]],
    }


# --- Who exceeds their rate limits ---


class Owner(NamedTuple):
    """Whose requests were counted. note: what for, if not for requests to the API."""

    name: str
    url: str = ""
    note: str = ""


@staff_required("ratelimits.view_ratelimit")
@require_safe
def limited_now(
    request: HttpRequest,
    name_owners: Callable[[Iterable[str]], dict[str, Owner]],
    find_near_quota: Callable[[], Sequence[Any]],
) -> HttpResponse:
    """name_owners: takes the owners' names in counters. find_near_quota: each with user, limit, state and percent."""
    recorder.flush()  # other workers write theirs within a second
    recent = Denial.objects.recent().select_related("rate_limit__tier")
    shown = Paginator(recent, rows_per_page(request)).get_page(request.GET.get("page"))
    denials = list(shown.object_list)
    states = peeked(denials)
    owners = name_owners([denial.owner for denial in denials])
    rows = [{"denial": denial, "state": states.get(denial.key), "owner": owners[denial.owner]} for denial in denials]
    return page(
        request,
        "ratelimits/pages/limited_now.html",
        "Recently rate limited",
        rows=rows,
        near_quota=find_near_quota(),
        page_obj=shown,
        outages=Outage.objects.all()[:10],
        store=store_name(),
        store_unavailable=limiter().breaker.is_open,
        fail_open=settings.RATE_LIMIT_FAIL_OPEN,
        may_reset=request.user.has_perm("ratelimits.change_ratelimit"),
    )


def peeked(denials: list[Denial]) -> dict[str, BudgetState]:
    outcome = limiter().peek([denial.budget for denial in denials])
    return {state.budget.key: state for state in outcome.states}


@staff_required("ratelimits.change_ratelimit")
@require_POST
def reset(request: HttpRequest) -> HttpResponse:
    owner = request.POST.get("owner", "")
    get_object_or_404(Denial.objects.filter(owner=owner)[:1])
    name = user_of(owner) or owner
    try:
        reset_owner(owner, Author(request.user, request))
    except StoreUnavailable:
        messages.error(request, "Can't reach the rate limit store, so nothing was reset. Try again in a moment.")
    else:
        messages.success(request, f"Rate limits reset for {name}.")
    return redirect("ratelimits:limited_now")


# --- Copying between tiers ---


@staff_required("ratelimits.add_ratelimit")
@retry_on_conflict
def copy(request: HttpRequest) -> HttpResponse:
    data = request.POST if request.method == "POST" else request.GET if "source" in request.GET else None
    form = CopyForm(data)
    if data is None or not form.is_valid():
        return page(request, "ratelimits/pages/copy.html", "Copy rate limits", form=form)
    source, target = form.cleaned_data["source"], form.cleaned_data["target"]
    if request.method == "POST":
        done = copy_limits(source, target, Author(request.user, request))
        messages.success(
            request,
            f"{counted(len(done.new), 'rate limit')} copied from “{source}” to “{target}”, {len(done.skipped):,} skipped.",
        )
        for limit, reason in done.skipped:
            messages.warning(request, f"Skipped: {limit.summary}. {reason}")
        return HttpResponseRedirect(f"{reverse('admin:ratelimits_ratelimit_changelist')}?tier__id__exact={target.pk}")
    plan = plan_copy(source, target)
    return page(
        request, "ratelimits/pages/copy.html", "Copy rate limits", form=form, plan=plan, source=source, target=target
    )
