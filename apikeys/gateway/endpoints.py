"""The machine endpoints under /authz/: who may ask, by which method, and what happens on an error.

They are served in the event loop (apikeys/gateway/asgi.py) or, by any other server and in tests, before the rest of the
middleware (apikeys/gateway/middleware.py): no sessions, no CSRF, no redirects, no look at the Host header, and never a 2xx
by accident.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from typing import NamedTuple

from django.http import HttpResponse

from apikeys.decision.decide import Verdict
from apikeys.gateway import dialects, openapi, usage_report, verify
from apikeys.gateway.dialects import Answer, Environ, Question
from apikeys.gateway.observed import UNAVAILABLE, count_undecided, decide_now
from apikeys.gateway.peers import may_ask
from config.base.database import drop_connection, unavailable_error
from config.base.http import problem
from config.middleware import request_id

logger = logging.getLogger(__name__)

PREFIX = "/authz/"


class Endpoint(NamedTuple):
    """What to do with a request.

    method: the only one that is allowed; empty for any. max_body_bytes: in bytes; 0 if the body is never read.
    is_blocking: it uses the database by itself, so it must not run in an event loop. gateway: its name in metrics; empty for an
    endpoint that decides nothing.
    """

    read: Callable[[Environ], Question | Answer]
    method: str = ""
    max_body_bytes: int = 0
    is_blocking: bool = False
    gateway: str = ""


def not_found(environ: Environ) -> Answer:
    return problem(404, "Not found", "There is no such endpoint.")


ENVOY = Endpoint(dialects.envoy, gateway="envoy")
MISSING = Endpoint(not_found)
ROUTES = {
    "/authz/nginx": Endpoint(dialects.nginx, gateway="nginx"),
    "/authz/traefik": Endpoint(dialects.forward_auth, gateway="traefik"),
    "/authz/caddy": Endpoint(dialects.forward_auth, gateway="caddy"),
    "/authz/verify": Endpoint(verify.verify, method="POST", max_body_bytes=verify.MAX_BODY_BYTES, gateway="verify"),
    "/authz/usage": Endpoint(
        usage_report.usage, method="POST", max_body_bytes=usage_report.MAX_BODY_BYTES, is_blocking=True
    ),
    "/authz/openapi.json": Endpoint(openapi.document, method="GET"),
}


def endpoint_for(path: str) -> Endpoint:
    """The endpoint at a path under /authz/: by its exact name, or anything below Envoy's prefix."""
    if path.startswith(f"{dialects.ENVOY_PREFIX}/"):
        return ENVOY
    return ROUTES.get(path, MISSING)


def deny_peer_or_method(environ: Environ, endpoint: Endpoint) -> Answer | None:
    """403 for a peer that isn't a trusted gateway, 405 for a wrong method, else None."""
    if not may_ask(environ):
        logger.warning("A peer that is not a trusted gateway asked %s", environ["PATH_INFO"])
        return problem(403, "Forbidden", "Only trusted gateways may ask.")
    if endpoint.method and environ["REQUEST_METHOD"] != endpoint.method:
        response = problem(405, "Method not allowed", f"Use {endpoint.method}.")
        response["Allow"] = endpoint.method
        return response
    return None


def read(environ: Environ, endpoint: Endpoint) -> Question | Answer:
    """What `endpoint` wants decided, or its response if there is nothing to decide. Never raises: an error is a 503."""
    try:
        return endpoint.read(environ)
    except Exception as error:  # noqa: BLE001  (an accidental 2xx would allow the request; the log has the cause)
        if endpoint.gateway:
            count_undecided(endpoint.gateway, UNAVAILABLE)
        return unavailable(environ["PATH_INFO"], error)


def answer(environ: Environ, question: Question, verdict: Verdict) -> Answer:
    """The response for this verdict. Never raises, like `read`."""
    if verdict.error is not None:
        return unavailable(environ["PATH_INFO"], verdict.error)
    try:
        return question.answer(verdict)
    except Exception as error:  # noqa: BLE001
        return unavailable(environ["PATH_INFO"], error)


def respond(environ: Environ) -> Answer:
    """The answer to a request under /authz/, decided in this thread."""
    endpoint = endpoint_for(environ["PATH_INFO"])
    question = deny_peer_or_method(environ, endpoint) or read(environ, endpoint)
    if not isinstance(question, Question):
        return question
    return answer(environ, question, decide_now(question.facts, endpoint.gateway))


def unavailable(path: str, error: BaseException) -> HttpResponse:
    """A 503 with an id that is also in the log, and no details of the cause."""
    incident = uuid.uuid4().hex[:12]
    token = request_id.set(incident)
    try:
        logger.error("%s could not be answered (id %s)", path, incident, exc_info=error)
    finally:
        request_id.reset(token)
    if unavailable_error(error) is not None:
        drop_connection()
    response = busy(id=incident)
    response["X-Request-Id"] = incident
    return response


def busy(**members: str) -> HttpResponse:
    response = problem(503, "Service unavailable", "The request can't be decided now. Try again soon.", **members)
    response["Retry-After"] = "1"
    response["Cache-Control"] = "no-store"
    return response
