"""For comparison: djangorestframework-api-key's HasAPIKey with a DRF throttle as in their documentation, in a new
Django project with persistent connections and faster SQLite settings.

It looks up the key and counts per key, without owner, tier, permissions or usage rows. The throttle isn't exact.
Environment: DATABASE_URL as for Gatehouse; REDIS_URL, without which each process caches in its own memory.
`python -m benchmarks.drf_project` creates the tables and prints a key.
"""

from __future__ import annotations

import os
import sys

import django
import environ
from django.conf import settings
from django.core.wsgi import get_wsgi_application

from benchmarks.startproject import APPS, MIDDLEWARE

DATABASE = environ.Env.db_url_config(os.environ["DATABASE_URL"]) | {"CONN_MAX_AGE": 60}
if "sqlite" in DATABASE["ENGINE"]:
    DATABASE["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
REDIS_URL = os.environ.get("REDIS_URL", "")
CACHE = (
    {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": REDIS_URL, "KEY_PREFIX": "drf"}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
)

settings.configure(
    SECRET_KEY="only-for-benchmarks",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF="benchmarks.drf_urls",
    INSTALLED_APPS=[*APPS, "rest_framework", "rest_framework_api_key"],
    MIDDLEWARE=MIDDLEWARE,
    DATABASES={"default": DATABASE},
    CACHES={"default": CACHE},
    USE_TZ=True,
    LOGGING_CONFIG=None,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    REST_FRAMEWORK={"DEFAULT_PERMISSION_CLASSES": ["rest_framework_api_key.permissions.HasAPIKey"]},
)

if __name__ == "__main__":
    django.setup()
    from django.core.management import call_command
    from rest_framework_api_key.models import APIKey

    call_command("migrate", verbosity=0)
    sys.stdout.write(APIKey.objects.create_key(name="benchmark")[1])
else:
    application = get_wsgi_application()
