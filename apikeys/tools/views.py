"""The staff's tools around the decision: explain one, connect a gateway, test it."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apikeys.decision.explain import explain
from apikeys.pages.desks import StaffDesk
from apikeys.tools.forms import ConnectForm, ExplainForm, SelfTestForm, is_place
from apikeys.tools.gateway_setup import FILES, TITLES, Places, configuration
from apikeys.tools.selftest import Result, Unreachable, run_self_test
from config.base.views import staff_required


@sensitive_variables()
@sensitive_post_parameters("key")
@require_http_methods(["GET", "HEAD", "POST"])
@staff_required("apikeys.view_apikey")
def explain_page(request: HttpRequest) -> HttpResponse:
    """Every check for a key (its id or secret, posted), a method, a path and an address; nothing is counted."""
    if request.method != "POST":
        return explain_response(request, ExplainForm(initial={"key": request.GET.get("id", "")[:36]}))
    form = ExplainForm(request.POST)
    if not form.is_valid():
        return explain_response(request, form.without_secret())
    key, by_id = form.key_by_id()
    if by_id and key is None:
        return explain_response(request, form.without_secret(), unknown_id=True)
    return explain_response(request, form.without_secret(), explanation=explain(form.facts(by_id=by_id), key))


def explain_response(request: HttpRequest, form: ExplainForm, **context: Any) -> HttpResponse:
    return StaffDesk(request).page("apikeys/tools/explain.html", form=form, heading="Explain a decision", **context)


@require_safe
@staff_required("apikeys.view_apikey")
def connect_page(request: HttpRequest) -> HttpResponse:
    """Ready configurations; where things are comes from the query, which holds no secret."""
    host = request.get_host()
    here = host if ":" in host.rpartition("]")[2] else f"{host}:8000"
    initial = {"gatehouse": here if is_place(here) else Places().gatehouse}
    form = ConnectForm(request.GET or None, initial=initial)
    places = Places(**(form.cleaned_data if form.is_bound and form.is_valid() else initial))
    return connect_response(request, form, places, SelfTestForm())


@require_POST
@staff_required("apikeys.view_apikey")
def self_test(request: HttpRequest) -> HttpResponse:
    """Test the gateway at a URL. For superusers: it makes this server send requests to where they say."""
    if not request.user.is_superuser:
        raise PermissionDenied
    form = SelfTestForm(request.POST)
    results: list[Result] = []
    failure = ""
    if form.is_valid():
        try:
            results = run_self_test(form.cleaned_data["url"], request.user)
        except Unreachable as error:
            failure = str(error)
    places = Places()
    connect = ConnectForm(initial={"gatehouse": places.gatehouse})
    return connect_response(request, connect, places, form, results=results, failure=failure)


def connect_response(
    request: HttpRequest, form: ConnectForm, places: Places, test_form: SelfTestForm, **context: Any
) -> HttpResponse:
    gateways = [(name, TITLES[name], FILES[name], configuration(name, places)) for name in FILES]
    return StaffDesk(request).page(
        "apikeys/tools/connect.html",
        heading="Connect a gateway",
        form=form,
        test_form=test_form,
        gateways=gateways,
        may_test=request.user.is_superuser,
        all_passed=all(result.passed for result in context.get("results", [])),
        **context,
    )
