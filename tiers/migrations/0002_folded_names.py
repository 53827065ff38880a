"""Keep the forms of names and descriptions that search compares."""

from django.db import migrations

from config.base.search import FoldedField, fill_folded, trigram_indexes


class Migration(migrations.Migration):
    dependencies = [("tiers", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="tier",
            name="name_folded",
            field=FoldedField(blank=True, db_default="", editable=False, serialize=False, source="name"),
        ),
        migrations.AddField(
            model_name="tier",
            name="description_folded",
            field=FoldedField(blank=True, db_default="", editable=False, serialize=False, source="description"),
        ),
        fill_folded("tiers", "tier"),
        trigram_indexes(
            "tiers",
            {"tiers_name_folded_trigrams": "name_folded", "tiers_description_folded_trigrams": "description_folded"},
        ),
    ]
