"""Serve the machine endpoints in the event loop, where a request that waits holds no thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import lru_cache
from io import BytesIO
from typing import Any

from apikeys.gateway.answers import Approval
from apikeys.gateway.batches import BatchQueue, ClientGoneError, QueueFullError
from apikeys.gateway.dialects import Answer, Question
from apikeys.gateway.endpoints import PREFIX, Endpoint, answer, busy, deny_peer_or_method, endpoint_for, read
from apikeys.gateway.observed import BUSY, CLIENT_GONE, count_undecided
from config.base.asgi import IS_CLOSED, Application, Receive, Scope, Send, raw_target, send_response
from config.base.database import release_connection
from config.middleware import machine_headers

Environ = dict[str, Any]


def gateways_first(application: Application, queue: BatchQueue, reports: Executor) -> Application:
    """Serve the machine endpoints in front of `application`, an ASGI application.

    queue: decides their requests. reports: has the thread that writes usage reports.
    """

    async def gatehouse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await application(scope, receive, send)
            return
        environ = environ_of(scope)
        endpoint = endpoint_for(environ["PATH_INFO"])
        if denial := deny_peer_or_method(environ, endpoint):
            await respond(denial, environ, send)
            return
        if endpoint.max_body_bytes and not await read_body(receive, environ, endpoint.max_body_bytes):
            return
        question = await asked(environ, endpoint, reports)
        if isinstance(question, Question):
            question = await decided(question, endpoint.gateway, environ, queue, is_closed(scope))
        await respond(question, environ, send)

    return gatehouse


async def asked(environ: Environ, endpoint: Endpoint, reports: Executor) -> Question | Answer:
    if endpoint.is_blocking:
        return await asyncio.get_running_loop().run_in_executor(reports, read_and_release, environ, endpoint)
    return read(environ, endpoint)


async def decided(
    question: Question, gateway: str, environ: Environ, queue: BatchQueue, is_gone: Callable[[], bool]
) -> Answer:
    try:
        verdict = await queue.decide(question.facts, is_gone, gateway)
    except QueueFullError:
        count_undecided(gateway, BUSY)
        return busy()
    except ClientGoneError:
        count_undecided(gateway, CLIENT_GONE)
        return busy()
    return answer(environ, question, verdict)


def read_and_release(environ: Environ, endpoint: Endpoint) -> Question | Answer:
    try:
        return read(environ, endpoint)
    finally:
        release_connection()


def is_closed(scope: Scope) -> Callable[[], bool]:
    known: Callable[[], bool] | None = scope.get("extensions", {}).get(IS_CLOSED)
    return known or (lambda: False)


def environ_of(scope: Scope) -> Environ:
    """The request as the endpoints read it: by its WSGI names."""
    environ = {
        "REQUEST_METHOD": scope["method"],
        "PATH_INFO": scope["path"],
        "RAW_URI": raw_target(scope),
        "REMOTE_ADDR": scope["client"][0] if scope.get("client") else "",
        "wsgi.url_scheme": scope.get("scheme", "http"),
    }
    for name, value in scope["headers"]:
        variable = variable_of(name)
        text = value.decode("latin-1")
        environ[variable] = joined(variable, environ[variable], text) if variable in environ else text
    environ.pop("", None)
    return environ


def joined(variable: str, first: str, second: str) -> str:
    """The value of a header that was sent twice. URIs may contain commas, so two get a space between them: that's denied as ambiguous."""
    return f"{first} {second}" if variable.endswith("_URI") else f"{first},{second}"


@lru_cache(maxsize=512)
def variable_of(header: bytes) -> str:
    """The WSGI name of a header; empty for one with an underscore, which would pass for another one with a hyphen."""
    if b"_" in header:
        return ""
    name = header.decode("latin-1").upper().replace("-", "_")
    return name if name in {"CONTENT_TYPE", "CONTENT_LENGTH"} else f"HTTP_{name}"


async def read_body(receive: Receive, environ: Environ, longest: int) -> bool:
    """Put the body into `environ`, or as much of it as shows that it's longer than `longest` bytes.

    False if the client went away.
    """
    body = bytearray()
    more = True
    while more and len(body) <= longest:
        message = await receive()
        if message["type"] == "http.disconnect":
            return False
        body += message.get("body", b"")
        more = message.get("more_body", False)
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = BytesIO(body), str(len(body))
    return True


async def respond(answer: Answer, environ: Environ, send: Send) -> None:
    if isinstance(answer, Approval):
        status, headers, body = 200, answer.headers, answer.body
    else:
        status, headers, body = answer.status_code, dict(answer.items()), answer.content
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send_response(send, status, fields + encoded(machine_headers(environ)), body)


@lru_cache(maxsize=2)
def encoded(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers]
