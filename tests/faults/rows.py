"""Set up an installation like `make setup`, create the users of the fault tests, and print their keys and a session as JSON.

Run `python -m tests.faults.rows` in the environment of the installation.
"""

from __future__ import annotations

import json
import time

import django

django.setup()

# These import models, so Django has to be set up first.
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402
from django.utils import timezone  # noqa: E402

from apikeys.secrets import new_secret  # noqa: E402
from ratelimits.models import RateLimit  # noqa: E402
from tests.conftest import make_user  # noqa: E402
from tests.rows import make_key  # noqa: E402

# Each fault uses one lasting and one short limit.
BUDGETS = 20
BUDGET = 200


def long_period():
    """Length in seconds of a fixed window that started and ends hours from now, and is short enough for the store."""
    return next(period for period in range(86_399, 40_000, -100) if 0.2 < time.time() % period / period < 0.5)


def limited(number, **window):
    user = make_user(f"{window['window']}_{number}")
    RateLimit.objects.create(user=user, path="/orders", limit=BUDGET, **window)
    return make_key(user).secret


def signed_in(user):
    """The key of a new session."""
    client = Client()
    client.force_login(user)
    return client.session.session_key


def main():
    call_command("migrate", verbosity=0)
    call_command("collectstatic", verbosity=0, interactive=False)
    alice, bob = make_user("alice"), make_user("bob", is_active=False)
    fixed = {"window": "fixed", "period": long_period()}
    keys = {
        "good": [make_key(alice).secret for _ in range(3)],
        "bad": [
            new_secret(),
            make_key(alice, revoked_at=timezone.now(), revoked_reason="leaked").secret,
            make_key(bob).secret,
            "nonsense",
        ],
        "lasting": [limited(number, window="total") for number in range(BUDGETS)],
        "short": [limited(number, **fixed) for number in range(BUDGETS)],
        "session": signed_in(make_user("anna")),
    }
    print(json.dumps(keys))


if __name__ == "__main__":
    main()
