"""Fill the search form of names, and index it on PostgreSQL in place of the upper-case one."""

from django.db import migrations

from config.base.search import fill_folded, trigram_indexes


class Migration(migrations.Migration):
    # Batches of their own: no lock is held for longer than one of them takes.
    atomic = False

    dependencies = [("accounts", "0004_folded_names")]

    operations = [
        fill_folded("accounts", "user"),
        trigram_indexes(
            "user", {"user_name_folded_trigrams": "name_folded"}, replaced={"user_name_trigrams": "UPPER(name::text)"}
        ),
    ]
