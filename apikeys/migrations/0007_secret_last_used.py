"""Keep the last use of the present secret by itself, so that a rotation knows when the secret it replaces was last used."""

from __future__ import annotations

from django.db import migrations, models


def take_over(apps, schema_editor):
    """Up to now the key's last use is the best answer: only a secret before a rotation could have been used instead."""
    apps.get_model("apikeys", "APIKey").objects.update(secret_last_used_at=models.F("last_used_at"))


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0006_ascending_usage_indexes")]

    operations = [
        migrations.AddField("apikey", "secret_last_used_at", models.DateTimeField(editable=False, null=True)),
        migrations.RunPython(take_over, migrations.RunPython.noop),
    ]
