"""Keep the form of names that search compares. The next migration fills it."""

from django.db import migrations

from config.base.search import FoldedField


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_user_search_indexes")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="name_folded",
            field=FoldedField(blank=True, db_default="", editable=False, serialize=False, source="name"),
        ),
    ]
