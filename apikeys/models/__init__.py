"""Keys, their usage, and what the usage adds up to."""

from __future__ import annotations

from apikeys.models.keys import EVERYTHING, APIKey, APIKeyQuerySet, ExpiryNotice, KeyPermission
from apikeys.models.rollups import EndpointHour, Figures, FoldState, TouchedHour, UsageHour
from apikeys.models.usage import KeyUsage

__all__ = [
    "EVERYTHING",
    "APIKey",
    "APIKeyQuerySet",
    "EndpointHour",
    "ExpiryNotice",
    "Figures",
    "FoldState",
    "KeyPermission",
    "KeyUsage",
    "TouchedHour",
    "UsageHour",
]
