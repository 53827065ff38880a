#!/usr/bin/env python
"""Gatehouse's command line: `manage.py help` lists what it can do."""

from __future__ import annotations

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # A setting is wrong, and the message says which one. A traceback wouldn't help.
        sys.exit(str(error))
