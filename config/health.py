"""Health checks for load balancers and orchestrators."""

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
from config.metrics import metrics
from config.middleware import Middleware
from ratelimits.stores.redis import RedisStore

logger = logging.getLogger(__name__)


@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """Doesn't use the database: while it's down, an orchestrator must not kill healthy workers."""
    return HttpResponse("ok", content_type="text/plain")


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
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
        logger.exception("readyz: the %s check failed", name)
        drop_connection()
        return False


def database_takes_writes() -> bool:
    """Write an unchanged row: with a read-only database we can't answer gateways, because each answer writes usage."""
    applied = MigrationRecorder.Migration.objects
    # Don't wait for a row that is being written: if others can write, so can we.
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


class HealthMiddleware(Middleware):
    """Answer these before ALLOWED_HOSTS and sessions: probes use the node's address, and sessions the database."""

    def __call__(self, request: HttpRequest) -> HttpResponse:
        view = {"/livez": livez, "/readyz": readyz, "/metrics": metrics}.get(request.path_info)
        return self.get_response(request) if view is None else view(request)
