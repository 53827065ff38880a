"""The latest self-test of each gateway."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from config.base.hosts import MAX_GIVEN_LENGTH


class GatewayTestManager(models.Manager["GatewayTest"]):
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
