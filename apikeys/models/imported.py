"""Keys that were imported from another key store, and what the secrets of such keys look like."""

from __future__ import annotations

from django.db import models

from apikeys.models.keys import APIKey


class ImportedKey(models.Model):
    """Where a key came from. It stays when the key has a hash of ours, so that the key can't be imported again."""

    api_key = models.OneToOneField(APIKey, models.CASCADE, related_name="imported")
    # Our hash of the foreign one: the key's `secret_hash` until its first use.
    marker = models.CharField(max_length=64, unique=True)
    # Of a slow hash: the start of the secret, and the hash itself until the key's first use.
    start = models.CharField(max_length=40, unique=True, null=True)
    encoded = models.CharField(max_length=255, blank=True)

    class Meta:
        db_table = "imported_keys"

    def __str__(self) -> str:
        return str(self.api_key)


class KeyFormat(models.Model):
    """A format of imported secrets: see `apikeys.secrets.foreign.SecretFormat`."""

    algorithm = models.CharField(max_length=20, blank=True)
    pattern = models.CharField(max_length=255)

    class Meta:
        db_table = "imported_key_formats"
        constraints = (models.UniqueConstraint(fields=("algorithm", "pattern"), name="imported_key_formats_unique"),)

    def __str__(self) -> str:
        return self.pattern
