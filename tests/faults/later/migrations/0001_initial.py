from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    operations = [
        migrations.RunSQL("ALTER TABLE key_usage ADD COLUMN later text", "ALTER TABLE key_usage DROP COLUMN later")
    ]
