"""Index the names of live keys, which SQLite reads to search them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0019_search_indexes")]

    operations = [
        migrations.AddIndex(
            model_name="apikey",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", True)),
                fields=["name_folded", "id"],
                name="api_keys_live_names",
            ),
        ),
    ]
