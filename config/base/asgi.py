"""The parts of ASGI that every server, endpoint and wrapper of an application here needs. Only uses the standard library."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# In scope["extensions"], by config/gunicorn.py: tells whether the client's connection is closed.
IS_CLOSED = "gatehouse.is_closed"


def raw_target(scope: Scope) -> str:
    """The request target as it was sent, with its query."""
    query = scope["query_string"]
    raw = scope.get("raw_path") or scope["path"].encode()
    target: bytes = raw + b"?" + query if query else raw
    return target.decode("latin-1")


async def send_response(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> None:
    fields = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})
