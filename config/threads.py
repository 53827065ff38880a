"""Run the Django application, which is WSGI, behind an event loop: in a fixed pool of threads with persistent connections.

Django's own ASGI handler would give each request a thread of its own, and so a new connection to the database.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import IO, Any, cast
from urllib.parse import quote_from_bytes

from a2wsgi import WSGIMiddleware

from config.base.asgi import Application, Receive, Scope, Send, raw_target, send_response
from config.base.numbers import whole_number

WSGIApplication = Callable[[dict[str, Any], Any], Iterable[bytes]]

THREADS = whole_number("WEB_THREADS", os.environ.get("WEB_THREADS") or 4, smallest=1, largest=1_000)
# How much less important pages are to the scheduler than decisions. 10 gives them a tenth of a core that both want.
NICENESS = 10
# In bytes. Twice the largest file that a form takes.
MAX_BODY_BYTES = 10 * 1024 * 1024
KEPT_IN_MEMORY = 256 * 1024
CHUNK = 64 * 1024
ABSOLUTE = re.compile(r"^https?://[^/]*", re.IGNORECASE)


def in_threads(application: WSGIApplication) -> Application:
    """`application` for an ASGI server. A thread only gets complete requests, so a slow client doesn't hold one."""
    wsgi: Any = with_raw_uri(application)
    middleware = WSGIMiddleware(wsgi)
    # On other systems, this would lower the priority of the whole process.
    niceness = NICENESS if sys.platform == "linux" else 0
    middleware.executor = ThreadPoolExecutor(
        THREADS, thread_name_prefix="pages", initializer=os.nice, initargs=(niceness,)
    )
    pages = cast("Application", middleware)

    async def threaded(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await pages(scope, receive, send)
            return
        with tempfile.SpooledTemporaryFile(KEPT_IN_MEMORY) as body:
            refusal = await spool(receive, body)
            if refusal is not None:
                await refuse(send, refusal)
                return
            # Finished even if the client leaves: cancelled, it would leave its thread waiting for a reader forever.
            await asyncio.shield(asyncio.ensure_future(pages(cleaned(scope), reader(body), send)))

    return threaded


def with_raw_uri(application: WSGIApplication) -> WSGIApplication:
    """Tell the target as it was sent in RAW_URI, as gunicorn does for WSGI: WSGI itself only has it decoded."""

    def with_uri(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["RAW_URI"] = raw_target(environ["asgi.scope"])
        return application(environ, start_response)

    return with_uri


def in_origin_form(application: Application) -> Application:
    """`application` for requests that name their host in the target too, as RFC 9112, section 3.2.2, has it."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if not scope.get("path", "/").startswith("/"):
            raw_path = ABSOLUTE.sub("", scope["raw_path"].decode("latin-1")).encode("latin-1") or b"/"
            scope = {**scope, "path": ABSOLUTE.sub("", scope["path"]) or "/", "raw_path": raw_path}
        await application(scope, receive, send)

    return served


def cleaned(scope: Scope) -> Scope:
    """`scope` with a query in ASCII, and without headers whose underscore would pass for the hyphen of another one."""
    query = scope["query_string"]
    return {
        **scope,
        "query_string": query if query.isascii() else quote_from_bytes(query, safe=bytes(range(0x21, 0x7F))).encode(),
        "headers": [(name, value) for name, value in scope["headers"] if b"_" not in name],
    }


async def spool(receive: Receive, body: IO[bytes]) -> HTTPStatus | None:
    """Read the whole body into `body`, or return why it can't be served."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return HTTPStatus.BAD_REQUEST  # the body is incomplete, and nobody will read the response
        if body.tell() + len(message.get("body", b"")) > MAX_BODY_BYTES:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        body.write(message.get("body", b""))
        more = message.get("more_body", False)
    body.seek(0)
    return None


def reader(body: IO[bytes]) -> Receive:
    async def receive() -> Mapping[str, Any]:
        chunk = body.read(CHUNK)
        return {"type": "http.request", "body": chunk, "more_body": len(chunk) == CHUNK}

    return receive


async def refuse(send: Send, status: HTTPStatus) -> None:
    await send_response(send, status, [(b"content-type", b"text/plain")], f"{status.phrase}\n".encode())
