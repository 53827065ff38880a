"""Keys, their usage, and what the usage adds up to."""

from __future__ import annotations

from apikeys.models.keys import APIKey, APIKeyQuerySet, ExpiryNotice, KeyPermission, KeyState
from apikeys.models.rollups import EndpointHour, Figures, FoldState, TouchedHour, UsageHour
from apikeys.models.usage import KeyUsage

__all__ = [
    "APIKey",
    "APIKeyQuerySet",
    "EndpointHour",
    "ExpiryNotice",
    "Figures",
    "FoldState",
    "KeyPermission",
    "KeyState",
    "KeyUsage",
    "TouchedHour",
    "UsageHour",
]
