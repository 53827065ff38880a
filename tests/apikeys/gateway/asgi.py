"""Call an ASGI application as gunicorn does, without a server."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from unittest.mock import patch

from django.db import connections
from django.utils.datastructures import CaseInsensitiveMapping

from apikeys.gateway.asgi import gateways_first
from apikeys.gateway.batches import BatchQueue
from config.threads import in_origin_form, in_threads
from config.wsgi import application as django_application


def scope_of(path, headers=(), *, method="GET", peer="127.0.0.1", **more):
    target, _, query = path.partition("?")
    return {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "client": (peer, 40000) if peer else None,
        "server": ("localhost", 80),
        **more,
    }


async def response_of(application, scope, body=b""):
    """Status line, headers and body of the response. body: bytes, or chunks after which the client disconnects."""
    sent = []
    if isinstance(body, bytes):
        unread = [{"type": "http.request", "body": body, "more_body": False}]
    else:
        unread = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in body]

    async def receive():
        return unread.pop(0) if unread else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    await application(scope, receive, send)
    if not sent:
        return None
    start, *rest = sent
    headers = CaseInsensitiveMapping({name.decode(): value.decode("latin-1") for name, value in start["headers"]})
    status = f"{start['status']} {HTTPStatus(start['status']).phrase}"
    return status, headers, b"".join(message.get("body", b"") for message in rest)


def ask_asgi(path, headers=(), *, body=b"", before=None, after=None, pages=None, **scope):
    """The response of config.asgi. before, after: called in the thread that makes decisions."""
    queue, reports = BatchQueue(), ThreadPoolExecutor(1)
    pages = in_threads(django_application) if pages is None else pages
    application = in_origin_form(gateways_first(pages, queue, reports))
    try:
        if before is not None:
            queue.thread.submit(before).result()
        # As in a deployment, the event loop can't use the database.
        with patch.dict(os.environ, DJANGO_ALLOW_ASYNC_UNSAFE=""):
            response = asyncio.run(
                response_of(application, scope_of(path, [("Host", "localhost"), *headers], **scope), body)
            )
        if after is not None:
            queue.thread.submit(after).result()
        return response
    finally:
        for threads in (queue.thread, queue.slow_thread, reports):
            threads.submit(connections.close_all).result()
            threads.shutdown()
