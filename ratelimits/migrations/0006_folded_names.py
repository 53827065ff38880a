"""Keep the form of names that search compares."""

from django.db import migrations

from config.base.search import FoldedField, fill_folded, trigram_indexes


class Migration(migrations.Migration):
    dependencies = [("ratelimits", "0005_flat_hit")]

    operations = [
        migrations.AddField(
            model_name="ratelimit",
            name="name_folded",
            field=FoldedField(blank=True, db_default="", editable=False, serialize=False, source="name"),
        ),
        fill_folded("ratelimits", "ratelimit"),
        trigram_indexes("rate_limits", {"rate_limits_name_folded_trigrams": "name_folded"}),
    ]
