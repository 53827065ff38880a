from __future__ import annotations

import logging
from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate

from apikeys.usage.partitions import PartitionError, create_ahead

logger = logging.getLogger(__name__)


class APIKeysConfig(AppConfig):
    name = "apikeys"
    verbose_name = "API keys"

    def ready(self) -> None:
        post_migrate.connect(create_partitions, sender=self, dispatch_uid="create_partitions")


def create_partitions(**signal: Any) -> None:
    """Installations that don't run jobs yet, and restored databases, need partitions too."""
    try:
        create_ahead()
    except PartitionError as error:
        logger.warning("No partitions were created for the usage ledger. %s", error)
