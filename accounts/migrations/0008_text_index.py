"""Index names, usernames and addresses for search on SQLite; and deleted users only, see config.base.models.DELETED."""

from django.db import migrations, models

from config.base.text_index import TextIndex


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_tier_until_billing_day")]

    operations = [
        migrations.RemoveIndex(model_name="user", name="user_deleted_at"),
        migrations.AddIndex(
            model_name="user",
            index=models.Index(
                condition=models.Q(("deleted_at__isnull", False)), fields=["deleted_at"], name="user_deleted"
            ),
        ),
        TextIndex("user", ("username", "email", "name_folded")).migration(),
    ]
