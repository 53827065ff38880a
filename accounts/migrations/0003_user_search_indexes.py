"""Trigram indexes on PostgreSQL, so that staff find an account by any part of its address among 500,000."""

from django.db import migrations

from config.base.search import trigram_indexes


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_user_erased_at")]

    operations = [
        trigram_indexes(
            "user",
            {
                "user_email_trigrams": "email",
                "user_username_trigrams": "username",
                "user_name_trigrams": "UPPER(name::text)",
            },
        )
    ]
