"""The WSGI entry point that gunicorn loads."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django_application = get_wsgi_application()

# Imports models, so Django must be set up.
from apikeys.gateway.wsgi import gateways_first  # noqa: E402

application = gateways_first(django_application)
