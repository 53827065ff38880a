"""Fill the search form of names, and index it on PostgreSQL."""

from django.db import migrations

from config.base.search import fill_folded, trigram_indexes


class Migration(migrations.Migration):
    # Batches of their own: no lock is held for longer than one of them takes.
    atomic = False

    dependencies = [("apikeys", "0008_folded_names")]

    operations = [
        fill_folded("apikeys", "apikey"),
        trigram_indexes("api_keys", {"api_keys_name_folded_trigrams": "name_folded"}),
    ]
