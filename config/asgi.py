"""What gunicorn serves: machine endpoints in the event loop, pages by the Django application in threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from config.threads import in_origin_form, in_threads
from config.wsgi import application as django_application

# They import models, so Django must be set up.
from apikeys.decision.imported import keep_learning_formats  # isort: skip
from apikeys.gateway.asgi import gateways_first  # isort: skip
from apikeys.gateway.batches import BatchQueue  # isort: skip
import config.urls  # isort: skip  # noqa: F401  (so that the first page doesn't wait for it)

keep_learning_formats()
reports = ThreadPoolExecutor(1, thread_name_prefix="usage-reports")
application = in_origin_form(gateways_first(in_threads(django_application), BatchQueue(), reports))
