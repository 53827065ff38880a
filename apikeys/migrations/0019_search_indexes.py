"""Find keys by the last four characters of their secret; and index deleted keys only, see config.base.models.DELETED."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0018_overview")]

    operations = [
        migrations.AddIndex(
            model_name="apikey",
            index=models.Index(fields=["last4"], name="api_keys_last4"),
        ),
        migrations.RemoveIndex(model_name="apikey", name="api_keys_deleted_at"),
        migrations.AddIndex(
            model_name="apikey",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", False)), fields=["deleted_at"], name="api_keys_deleted"
            ),
        ),
    ]
