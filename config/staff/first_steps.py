"""What a new installation needs before its API is protected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.urls import reverse

from accounts.models import User
from apikeys.models import APIKey, GatewayTest, KeyUsage
from ratelimits.models import RateLimit
from tiers.models import Tier


class Step(NamedTuple):
    title: str
    advice: str
    url: str
    permission: str
    is_done: bool


def first_steps(user: Any) -> list[Step]:
    """The steps in order, including done ones. Empty once all are done, or if this person may do none of them."""
    found = list(steps())
    if all(step.is_done for step in found) or not any(user.has_perm(step.permission) for step in found):
        return []
    return [step if user.has_perm(step.permission) else step._replace(url="") for step in found]


def steps() -> Iterator[Step]:
    connect = reverse("tools:connect")
    yield Step(
        "Create a tier",
        "A tier is a plan: what its users can do, and how often.",
        reverse("admin:tiers_tier_add"),
        "tiers.add_tier",
        Tier.objects.live().exists(),
    )
    yield Step(
        "Create a rate limit",
        "For example 100 requests per minute to /*.",
        reverse("admin:ratelimits_ratelimit_add"),
        "ratelimits.add_ratelimit",
        RateLimit.objects.live().exists(),
    )
    yield Step(
        "Create a user",
        "Users own API keys and have a tier.",
        reverse("users:create"),
        "accounts.add_user",
        User.objects.live().filter(is_staff=False).exists(),
    )
    yield Step(
        "Create an API key",
        "You see its secret once.",
        reverse("admin:apikeys_apikey_add"),
        "apikeys.add_apikey",
        APIKey.objects.live().exists(),
    )
    yield Step(
        "Connect a gateway",
        "Your gateway asks Gatehouse about each request.",
        connect,
        "apikeys.view_apikey",
        KeyUsage.objects.exists(),
    )
    yield Step(
        "Run the self-test",
        "It sends requests through your gateway and checks that the right ones are denied.",
        connect,
        "apikeys.view_apikey",
        GatewayTest.objects.filter(passed=True).exists(),
    )
