"""Serve the machine endpoints in the event loop, where a request that waits holds no thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import Executor
from functools import lru_cache
from io import BytesIO
from typing import Any

from apikeys.gateway.answers import Approval
from apikeys.gateway.batches import BatchQueue, ClientGoneError, QueueFullError
from apikeys.gateway.dialects import Answer, Question
from apikeys.gateway.endpoints import PREFIX, Endpoint, answer, busy, deny_peer_or_method, endpoint_for, read
from config.base.database import release_connection
from config.middleware import machine_headers

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Environ = dict[str, Any]

# In scope["extensions"], by config/gunicorn.py: tells whether the client's connection is closed.
IS_CLOSED = "gatehouse.is_closed"


def gateways_first(application: Application, queue: BatchQueue, reports: Executor) -> Application:
    """`application`, an ASGI application, behind the machine endpoints.

    They decide by `queue`, and `reports` has the thread that writes usage reports.
    """

    async def gatehouse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await application(scope, receive, send)
            return
        environ = environ_of(scope)
        endpoint = endpoint_for(environ["PATH_INFO"])
        wants_body = endpoint.max_body_bytes and deny_peer_or_method(endpoint, environ) is None
        if wants_body and not await read_body(receive, environ, endpoint.max_body_bytes):
            return
        if endpoint.is_blocking:
            loop = asyncio.get_running_loop()
            question = await loop.run_in_executor(reports, read_and_release, endpoint, environ)
        else:
            question = read(endpoint, environ)
        if isinstance(question, Question):
            question = await decided(question, environ, queue, is_closed(scope))
        await respond(question, environ, send)

    return gatehouse


async def decided(question: Question, environ: Environ, queue: BatchQueue, is_gone: Callable[[], bool]) -> Answer:
    try:
        verdict = await queue.decide(question.facts, is_gone)
    except (QueueFullError, ClientGoneError):
        return busy()
    return answer(question, environ, verdict)


def read_and_release(endpoint: Endpoint, environ: Environ) -> Question | Answer:
    try:
        return read(endpoint, environ)
    finally:
        release_connection()


def is_closed(scope: Scope) -> Callable[[], bool]:
    known: Callable[[], bool] | None = scope.get("extensions", {}).get(IS_CLOSED)
    return known or (lambda: False)


def environ_of(scope: Scope) -> Environ:
    """The request as the endpoints read it: by its WSGI names."""
    path, query = scope["path"], scope["query_string"]
    raw = scope.get("raw_path") or path.encode()
    environ = {
        "REQUEST_METHOD": scope["method"],
        "PATH_INFO": path,
        "RAW_URI": (raw + b"?" + query if query else raw).decode("latin-1"),
        "REMOTE_ADDR": scope["client"][0] if scope.get("client") else "",
        "wsgi.url_scheme": scope.get("scheme", "http"),
    }
    for name, value in scope["headers"]:
        variable = variable_of(name)
        text = value.decode("latin-1")
        environ[variable] = f"{environ[variable]},{text}" if variable in environ else text
    environ.pop("", None)
    return environ


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
    fields += encoded(machine_headers(environ))
    fields.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


@lru_cache(maxsize=2)
def encoded(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers]
