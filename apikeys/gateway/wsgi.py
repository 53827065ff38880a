"""Answer gateways before Django's own handler runs: no signals, no middleware, no resolving of URLs stand before a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections

from apikeys.gateway.answers import Approval
from apikeys.gateway.dialects import Answer, Environ
from apikeys.gateway.endpoints import PREFIX, endpoint_for
from config.base.database import drop_read_only_connection
from config.middleware import machine_headers

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
# As WSGI says; django-stubs knows Django's handler by a narrower type.
Application = Callable[[Any, Any], Iterable[bytes]]


def gateways_first(application: Application) -> Application:
    """`application`, a WSGI application, behind the machine endpoints. Where it is passed by, GatewayMiddleware answers."""

    def gatehouse(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith(PREFIX):
            return application(environ, start_response)
        try:
            return send(endpoint_for(path)(environ), environ, start_response)
        finally:
            # As Django does it around each request: a connection that broke, or is old, is not for the next one.
            drop_read_only_connection()
            connections[DEFAULT_DB_ALIAS].close_if_unusable_or_obsolete()

    return gatehouse


def send(answer: Answer, environ: Environ, start_response: StartResponse) -> list[bytes]:
    if isinstance(answer, Approval):
        status, headers, body = "200 OK", answer.headers, answer.body
    else:
        status = f"{answer.status_code} {answer.reason_phrase}"
        headers, body = dict(answer.items()), answer.content
    start_response(status, [*headers.items(), *machine_headers(environ), ("Content-Length", str(len(body)))])
    return [body]
