from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apikeys.decision.explain import explain
from apikeys.models import GatewayTest
from apikeys.tools.forms import ConnectForm, ExplainForm, SelfTestForm, is_host_and_port
from apikeys.tools.gateway_setup import GATEWAYS, Addresses, configuration
from apikeys.tools.selftest import Unreachable, run_self_test
from config.base.hosts import MAX_GIVEN_LENGTH
from config.base.views import staff_render, staff_required


@sensitive_variables()
@sensitive_post_parameters("key")
@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("apikeys.view_apikey")
def explain_page(request: HttpRequest) -> HttpResponse:
    context: dict[str, Any] = {}
    if request.method == "POST":
        form = ExplainForm(request.POST)
        if form.is_valid():
            context["explanation"] = explain(form.facts(), form.key_record)
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
