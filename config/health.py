"""What load balancers and orchestrators ask: is the process alive, and can it work?"""

from __future__ import annotations

import logging
from collections.abc import Callable

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import F
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from config.base.database import drop_connection
from ratelimits.stores.redis import RedisStore

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
    named = {"database": database_takes_writes, "migrations": migrations_are_applied}
    return named | ({"redis": redis_counts} if settings.REDIS_URL else {})


def passes(name: str, check: Callable[[], bool]) -> bool:
    try:
        return check()
    except Exception:
        logger.exception("readyz: %s fails", name)
        drop_connection()
        return False


def database_takes_writes() -> bool:
    """Write a row as it is. A database that can only be read can't answer gateways: each answer is a row of usage."""
    applied = MigrationRecorder.Migration.objects
    # A row that somebody else is writing isn't waited for: where they can write, so can we.
    first = applied.select_for_update(skip_locked=True).order_by("pk").values("pk")[:1]
    with transaction.atomic():
        applied.filter(pk__in=first).update(app=F("app"))
    return True


def migrations_are_applied() -> bool:
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    return not executor.migration_plan(executor.loader.graph.leaf_nodes())


def redis_counts() -> bool:
    store = RedisStore(settings.REDIS_URL, timeout=0.5)
    try:
        store.ping()
    finally:
        store.close()
    return True


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
