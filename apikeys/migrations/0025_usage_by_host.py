"""The host in the sums by endpoint. Null: not known, until the hour is folded again."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0024_times_in_a_zone")]

    operations = [
        migrations.AddField("endpointhour", "host", models.CharField(max_length=253, null=True)),
    ]
