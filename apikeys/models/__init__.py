"""Keys, their usage, what the usage adds up to, and regular jobs."""

from __future__ import annotations

from apikeys.models.gateways import GatewayTest
from apikeys.models.imported import ImportedKey, KeyFormat
from apikeys.models.jobs import Job
from apikeys.models.keys import KEY_WINDOWS, APIKey, APIKeyQuerySet, ExpiryNotice, KeyPermission, KeyState
from apikeys.models.rollups import EndpointHour, Figures, FoldState, KeyDay, LimitHour, TouchedHour, UsageHour
from apikeys.models.usage import KeyUsage

__all__ = [
    "KEY_WINDOWS",
    "APIKey",
    "APIKeyQuerySet",
    "EndpointHour",
    "ExpiryNotice",
    "Figures",
    "FoldState",
    "GatewayTest",
    "ImportedKey",
    "Job",
    "KeyDay",
    "KeyFormat",
    "KeyPermission",
    "KeyState",
    "KeyUsage",
    "LimitHour",
    "TouchedHour",
    "UsageHour",
]
