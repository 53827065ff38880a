"""Sums by rate limit and by day, filled from the folded hours, whose rate limits aren't known."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


LIMIT_HOURS = """
INSERT INTO key_usage_limit_hours
    (hour, reason, requests, refused, errors, ms_total, ms_count, ms_max, tokens, cost)
SELECT hour, reason, SUM(requests), SUM(refused), SUM(errors), SUM(ms_total), SUM(ms_count), MAX(ms_max), SUM(tokens), SUM(cost)
FROM key_usage_hours GROUP BY hour, reason
"""
DAYS = """
INSERT INTO key_usage_days (day, api_key_id, user_id, requests, refused)
SELECT {day}, api_key_id, user_id, SUM(requests), SUM(refused) FROM key_usage_hours GROUP BY {day}, api_key_id, user_id
"""


def fill(apps, schema_editor):
    day = "CAST(hour AT TIME ZONE 'UTC' AS date)" if schema_editor.connection.vendor == "postgresql" else "date(hour)"
    schema_editor.execute(LIMIT_HOURS)
    schema_editor.execute(DAYS.format(day=day))


class Migration(migrations.Migration):

    dependencies = [
        ('apikeys', "0017_imported_keys"),
        ('ratelimits', '0009_own_limits'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='GatewayTest',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('host', models.CharField(max_length=270, unique=True)),
                ('passed', models.BooleanField()),
                ('tested_at', models.DateTimeField(auto_now=True, verbose_name='tested')),
            ],
            options={
                'db_table': 'gateway_tests',
                'ordering': ('-tested_at',),
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='KeyDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField()),
                ('requests', models.BigIntegerField()),
                ('refused', models.BigIntegerField()),
                ('api_key', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='apikeys.apikey')),
                ('user', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'db_table': 'key_usage_days',
                'indexes': [models.Index(fields=['api_key'], name='key_usage_days_key'), models.Index(fields=['user'], name='key_usage_days_user')],
                'constraints': [models.UniqueConstraint(fields=('day', 'api_key', 'user'), name='key_usage_days_unique')],
            },
        ),
        migrations.CreateModel(
            name='LimitHour',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('hour', models.DateTimeField()),
                ('reason', models.CharField(blank=True, max_length=32)),
                ('requests', models.BigIntegerField()),
                ('refused', models.BigIntegerField()),
                ('errors', models.BigIntegerField()),
                ('ms_total', models.BigIntegerField()),
                ('ms_count', models.BigIntegerField()),
                ('ms_max', models.BigIntegerField()),
                ('tokens', models.BigIntegerField()),
                ('cost', models.BigIntegerField()),
                ('rate_limit', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='ratelimits.ratelimit')),
            ],
            options={
                'db_table': 'key_usage_limit_hours',
                'indexes': [models.Index(fields=['hour'], name='key_usage_limit_hours_hour')],
            },
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
