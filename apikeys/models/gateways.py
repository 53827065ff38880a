"""The latest self-test of each gateway."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.utils import timezone

from apikeys.models.usage import KeyUsage
from config.base.hosts import MAX_GIVEN_LENGTH, normal_host

DAY = timedelta(days=1)
MAX_SHOWN = 20
EXAMPLE_HOST = "api.example.com"


class GatewayTestManager(models.Manager["GatewayTest"]):
    def with_last_requests(self) -> list[tuple[GatewayTest, datetime | None]]:
        """The last tested gateways, each with the time of the last request of a day that named its host."""
        tests = list(self.all()[:MAX_SHOWN])
        recent = KeyUsage.objects.filter(created_at__gte=timezone.now() - DAY, host__in={test.name for test in tests})
        last = dict(recent.order_by().values_list("host").annotate(models.Max("created_at")))
        return [(test, last.get(test.name)) for test in tests]

    def api_url(self) -> str:
        """The API's URL behind the last gateway that passed, for examples."""
        test = self.filter(passed=True).first()
        return f"https://{test.host if test else EXAMPLE_HOST}/"

    def note(self, host: str, *, passed: bool) -> None:
        self.update_or_create(host=host, defaults={"passed": passed})


class GatewayTest(models.Model):
    """host: with a port, as in the tested URL, whose path and query aren't kept."""

    host = models.CharField(max_length=MAX_GIVEN_LENGTH, unique=True)
    passed = models.BooleanField()
    tested_at = models.DateTimeField("tested", auto_now=True)

    objects: ClassVar[GatewayTestManager] = GatewayTestManager()

    class Meta:
        db_table = "gateway_tests"
        ordering = ("-tested_at",)
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.host}: {'passed' if self.passed else 'failed'}"

    @property
    def name(self) -> str:
        """The host as requests name it."""
        return normal_host(self.host)
