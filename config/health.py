"""What load balancers and orchestrators ask: is the process alive, and can it work?"""

from __future__ import annotations

import logging
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

logger = logging.getLogger(__name__)


@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """The process answers. Touches nothing: a dead database must not make an orchestrator kill healthy workers."""
    return HttpResponse("ok", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Whether this node can serve: the database, its migrations and Redis when configured; 503 names what fails."""
    failing = [name for name, check in checks().items() if not passes(name, check)]
    body = {"status": "unavailable" if failing else "ok", "failing": failing}
    return JsonResponse(body, status=503 if failing else 200, headers={"Cache-Control": "no-store"})


def checks() -> dict[str, Callable[[], bool]]:
    named = {"database": database_answers, "migrations": migrations_are_applied}
    return named | ({"redis": redis_answers} if settings.REDIS_URL else {})


def passes(name: str, check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception:
        logger.exception("readyz: %s fails", name)
        return False


def database_answers() -> bool:
    with connections[DEFAULT_DB_ALIAS].cursor() as cursor:
        cursor.execute("SELECT 1")
    return True


def migrations_are_applied() -> bool:
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def redis_answers() -> bool:
    with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.5, socket_connect_timeout=0.5) as client:
        return bool(client.ping())


class HealthMiddleware:
    """Answer /livez and /readyz before hosts, sessions and accounts come into it.

    Those who probe name the node by its address, which is no allowed host, and a session would be read from the database,
    which /livez must not touch.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        view = {"/livez": livez, "/readyz": readyz}.get(request.path_info)
        return self.get_response(request) if view is None else view(request)
