from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import User
from apikeys.decision.explain import explain
from apikeys.models import GatewayTest
from apikeys.tools.forms import ConnectForm, ExplainForm, SelfTestForm, WhatIfForm, is_host_and_port
from apikeys.tools.gateway_setup import GATEWAYS, Addresses, configuration
from apikeys.tools.selftest import Unreachable, run_self_test
from apikeys.tools.what_if import DAYS, MAX_EVENTS, Replay, replay
from config.base.hosts import MAX_GIVEN_LENGTH
from config.base.views import staff_render, staff_required
from ratelimits.models import RateLimit
from ratelimits.rules import lines_of


@sensitive_variables()
@sensitive_post_parameters("key")
@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("apikeys.view_apikey")
def explain_page(request: HttpRequest) -> HttpResponse:
    context: dict[str, Any] = {}
    if request.method == "POST":
        form = ExplainForm(request.POST)
        if form.is_valid():
            explanation = explain(form.facts(), form.key_record)
            context |= {"explanation": explanation, "limits": lines_of(explanation.limits, explanation.key)}
        form = form.without_secret()
    else:
        given = {name: text for name, text in request.GET.items() if name in ("method", "path", "host", "address")}
        form = ExplainForm(initial={"key": request.GET.get("id", "")[:36], **given})
    return staff_render(request, "apikeys/tools/explain.html", context | {"title": "Explain a decision", "form": form})


@require_safe
@staff_required("apikeys.view_apikey")
def connect_page(request: HttpRequest) -> HttpResponse:
    host = request.get_host()
    here = host if ":" in host.rpartition("]")[2] else f"{host}:8000"
    initial = {"gatehouse": here if is_host_and_port(here) else Addresses.gatehouse}
    form = ConnectForm(request.GET or None, initial=initial)
    addresses = Addresses(**(form.cleaned_data if form.is_bound and form.is_valid() else initial))
    return connect_response(request, form, addresses, test_form=SelfTestForm())


@require_POST
@staff_required("apikeys.view_apikey")
def self_test(request: HttpRequest) -> HttpResponse:
    """For superusers only: it makes this server send requests to a URL of their choice."""
    if not request.user.is_superuser:
        raise PermissionDenied
    test_form = SelfTestForm(request.POST)
    context: dict[str, Any] = {"test_form": test_form, "failure": ""}
    if test_form.is_valid():
        url = test_form.cleaned_data["url"]
        try:
            context["results"] = run_self_test(url, request.user)
        except Unreachable as error:
            context["failure"] = str(error)
        passed = not context["failure"] and all(result.passed for result in context["results"])
        GatewayTest.objects.note(urlsplit(url).netloc[:MAX_GIVEN_LENGTH], passed=passed)
    return connect_response(request, ConnectForm(initial={"gatehouse": Addresses.gatehouse}), Addresses(), **context)


def connect_response(request: HttpRequest, form: ConnectForm, addresses: Addresses, **context: Any) -> HttpResponse:
    context |= {
        "title": "Connect a gateway",
        "form": form,
        "gateways": [(gateway, configuration(name, addresses)) for name, gateway in GATEWAYS.items()],
        "connected": GatewayTest.objects.with_last_requests(),
        "all_passed": all(result.passed for result in context.get("results", [])),
    }
    return staff_render(request, "apikeys/tools/connect.html", context)


@staff_required("ratelimits.view_ratelimit")
def what_if(request: HttpRequest) -> HttpResponse:
    limit = get_object_or_404(RateLimit, pk=pk) if (pk := request.GET.get("limit_id", "")).isdigit() else RateLimit()
    given = request.POST if request.method == "POST" else request.GET if "path" in request.GET else None
    form = WhatIfForm(given, instance=limit)
    context = {
        "title": "What if",
        "form": form,
        "limit": limit if limit.pk else None,
        "days": DAYS,
        "most": MAX_EVENTS,
        # What else the form of the rate limit sent: it can be saved from here.
        "kept": kept_fields(request.POST, form),
    }
    if given is not None and form.is_valid():
        result = replay(form.instance)
        context |= {"replay": result, "worst": most_denied(result)}
    return staff_render(request, "apikeys/tools/what_if.html", context)


def kept_fields(posted: QueryDict, form: WhatIfForm) -> list[tuple[str, str]]:
    own = {name for bound in form for name in (bound.html_name, f"{bound.html_name}_unit")} | {"csrfmiddlewaretoken"}
    return [(name, value) for name, values in posted.lists() if name not in own for value in values]


def most_denied(result: Replay) -> list[tuple[User, int]]:
    most = result.denied.most_common(10)
    users = User.objects.in_bulk([pk for pk, _ in most])
    return [(users[pk], number) for pk, number in most if pk in users]
