"""The machine endpoints under /authz/: who may ask, by which method, and what happens when something breaks inside.

They are answered before Django's handler (apikeys/gateway/wsgi.py) or, where that is passed by, before the rest of the middleware
(apikeys/gateway/middleware.py). So everything that holds for them stands here: no sessions, no CSRF, no redirects, no look at the
Host header, and never a 2xx by accident.
"""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from apikeys.gateway import dialects as gateways
from apikeys.gateway import openapi, usage_report, verify
from apikeys.gateway.answers import Approval
from apikeys.gateway.dialects import Answer, Environ
from apikeys.gateway.peers import may_ask
from config.base.database import drop_connection, unavailable_error
from config.base.http import problem
from config.middleware import request_id

logger = logging.getLogger(__name__)

Endpoint = Callable[[Environ], Answer]

PREFIX = "/authz/"


def never_open(endpoint: Endpoint) -> Endpoint:
    """Answer 503 when the endpoint breaks, whatever the cause: a gateway takes any accidental 2xx for a yes."""

    @functools.wraps(endpoint)
    def guarded(environ: Environ) -> Answer:
        try:
            return endpoint(environ)
        except Exception as error:  # noqa: BLE001  (told in the log, with an id)
            return unavailable(environ["PATH_INFO"], error)

    return guarded


def unavailable(path: str, error: Exception) -> HttpResponse:
    """503, with an id that the log has too; nothing of the cause goes out."""
    incident = uuid.uuid4().hex[:12]
    token = request_id.set(incident)
    try:
        logger.error("%s could not be answered (id %s)", path, incident, exc_info=error)
    finally:
        request_id.reset(token)
    if unavailable_error(error) is not None:
        drop_connection()
    response = problem(503, "Service unavailable", "The request cannot be judged now. Try again soon.", id=incident)
    response["X-Request-Id"] = incident
    response["Retry-After"] = "1"
    response["Cache-Control"] = "no-store"
    return response


def for_gateways(endpoint: Endpoint, *, method: str = "") -> Endpoint:
    """Make `endpoint` answer trusted peers only, never open; with `method`, for that method only."""

    @never_open
    @functools.wraps(endpoint)
    def guarded(environ: Environ) -> Answer:
        if not may_ask(environ):
            logger.warning("A peer that is no trusted gateway asked %s", environ["PATH_INFO"])
            return problem(403, "Forbidden", "Only trusted gateways may ask.")
        if method and environ["REQUEST_METHOD"] != method:
            response = problem(405, "Method not allowed", f"Use {method}.")
            response["Allow"] = method
            return response
        return endpoint(environ)

    return guarded


def nothing_here(environ: Environ) -> HttpResponse:
    return problem(404, "Not found", "There is no such endpoint.")


nginx = for_gateways(gateways.nginx)
traefik = for_gateways(gateways.forward_auth)
caddy = for_gateways(gateways.forward_auth)
envoy = for_gateways(gateways.envoy)
verify_key = for_gateways(verify.verify, method="POST")
report_usage = for_gateways(usage_report.usage, method="POST")
schema = for_gateways(openapi.document, method="GET")
missing = for_gateways(nothing_here)

ROUTES: dict[str, Endpoint] = {
    "/authz/nginx": nginx,
    "/authz/traefik": traefik,
    "/authz/caddy": caddy,
    "/authz/verify": verify_key,
    "/authz/usage": report_usage,
    "/authz/openapi.json": schema,
}


def endpoint_for(path: str) -> Endpoint:
    """The endpoint at a path under /authz/: by its exact name, or anything below Envoy's prefix."""
    if path.startswith(f"{gateways.ENVOY_PREFIX}/"):
        return envoy
    return ROUTES.get(path, missing)


@csrf_exempt
def ask(request: HttpRequest, **_: str) -> HttpResponse:
    """The machine endpoints as a Django view."""
    answer = endpoint_for(request.path_info)(request.META)
    return answer.as_response() if isinstance(answer, Approval) else answer
