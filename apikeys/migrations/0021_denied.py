"""Call denied requests “denied” in the sums of usage, as everywhere else."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("apikeys", "0020_live_names")]

    operations = [
        migrations.RenameField("UsageHour", "refused", "denied"),
        migrations.RenameField("EndpointHour", "refused", "denied"),
        migrations.RenameField("LimitHour", "refused", "denied"),
        migrations.RenameField("KeyDay", "refused", "denied"),
    ]
