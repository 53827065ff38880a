"""On the way back: add up the rows of all hosts, hour by hour, so that the old constraint fits."""

from django.db import migrations, transaction
from django.db.models import Max

ADD_UP = """
INSERT INTO key_usage_endpoint_hours
    (hour, api_key_id, user_id, reason, method, endpoint,
     requests, denied, errors, ms_total, ms_count, ms_max, tokens, cost)
SELECT hour, api_key_id, user_id, reason, method, endpoint,
       SUM(requests), SUM(denied), SUM(errors), SUM(ms_total), SUM(ms_count), MAX(ms_max), SUM(tokens), SUM(cost)
FROM key_usage_endpoint_hours WHERE hour = %s
GROUP BY hour, api_key_id, user_id, reason, method, endpoint
"""


def add_up_hosts(apps, schema_editor):
    rows = apps.get_model("apikeys", "EndpointHour").objects.using(schema_editor.connection.alias)
    adapt = schema_editor.connection.ops.adapt_datetimefield_value
    for hour in rows.filter(host__isnull=False).order_by("hour").values_list("hour", flat=True).distinct():
        with transaction.atomic(schema_editor.connection.alias), schema_editor.connection.cursor() as cursor:
            by_host = rows.filter(hour=hour)
            last = by_host.aggregate(last=Max("pk"))["last"]
            cursor.execute(ADD_UP, [adapt(hour)])
            by_host.filter(pk__lte=last).delete()


class Migration(migrations.Migration):
    # Each hour has its own transaction.
    atomic = False
    dependencies = [("apikeys", "0026_usage_by_host_unique")]

    operations = [migrations.RunPython(migrations.RunPython.noop, add_up_hosts)]
