"""Keep the form of names that search compares. The next migration fills it."""

from django.db import migrations

from config.base.search import FoldedField


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0007_secret_last_used")]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="name_folded",
            field=FoldedField(blank=True, db_default="", editable=False, serialize=False, source="name"),
        ),
    ]
