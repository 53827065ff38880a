from __future__ import annotations

from django.contrib import admin

from tiers.models import Tier

admin.site.register(Tier)
