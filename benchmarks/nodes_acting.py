"""Check that four nodes act as one: exact budgets, changes in force on the next request, jobs that run once, shared sessions."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accounts import addresses
from accounts.models import User
from apikeys.models import APIKey, Job, KeyPermission
from apikeys.secrets import new_secret
from apikeys.services import stored_form
from tests.apikeys.gateway.load import Clients
from tests.config.node_checks import LIMITED, add_limits, changes, verdict, verdicts, visit
from tests.waiting import wait_until
from tiers.models import Tier

BUDGET = 500
# How many times each change of tests.config.node_checks is made, each time to another key.
REPEATS = 5


def acting_as_one(front: Any, nodes: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "budgets": dict(budgets(front)),
        "changes": changed(front, nodes),
        "pages": pages(front, len(nodes)),
        "jobs": jobs(nodes),
    }
    exact = {"limit": BUDGET, "requests": 2 * BUDGET, "allowed": BUDGET, "denied": BUDGET, "nodes": len(nodes)}
    wrong = [f"budget {path}" for path, counts in found["budgets"].items() if counts != exact]
    wrong += ["changes"] if found["changes"]["not in force"] else []
    wrong += ["pages"] if found["pages"] != {"nodes": len(nodes), "shown": len(nodes)} else []
    wrong += ["jobs"] if found["jobs"]["runs"] != found["jobs"]["due"] else []
    return found | {"wrong": wrong}


def new_user() -> User:
    name = uuid.uuid4().hex[:12]
    tier = Tier.objects.create(name=name)
    user = User.objects.create_user(name, f"{name}@example.com", "correct horse 1", tier=tier)
    addresses.set_address(user, verified=True)
    return user


def new_key(user: User) -> APIKey:
    secret = new_secret()
    key = APIKey.objects.create(user=user, name="benchmark", **stored_form(secret))
    KeyPermission.objects.create(api_key=key, action="*", resource="*")
    key.secret = secret
    return key


def budgets(front: Any) -> Iterator[tuple[str, dict[str, int]]]:
    user = new_user()
    add_limits(user, BUDGET)
    key = new_key(user)
    for path in LIMITED:
        statuses, answered_by = verdicts(front, key.secret, path, 2 * BUDGET)
        counts = {"allowed": statuses[200], "denied": statuses[429], "nodes": len(answered_by)}
        yield path, {"limit": BUDGET, "requests": 2 * BUDGET, **counts}


def changed(front: Any, nodes: list[Any]) -> dict[str, int]:
    """Ask each node right after each change, under load."""
    made = asked = wrong = 0
    for _ in range(REPEATS):
        key = new_key(new_user())
        with Clients(front.port, [key.secret], host=front.host) as load:
            for _, change, expected in changes(key):
                load.wait_for(20)
                change()
                statuses = [verdict(each, key.secret)[1] for each in nodes]
                made, asked = made + 1, asked + len(statuses)
                wrong += len(statuses) - statuses.count(expected)
    return {"changes": made, "next requests": asked, "not in force": wrong}


def pages(front: Any, times: int) -> dict[str, int]:
    shown, answered_by = visit(front, new_user(), "Alice Liddell", times)
    return {"nodes": len(answered_by), "shown": sum("Alice Liddell" in page for page in shown)}


def jobs(nodes: list[Any]) -> dict[str, int]:
    """All nodes look for due jobs, but each job runs on one of them."""
    wait_until(lambda: Job.objects.filter(is_ok=True).count() == Job.objects.count() > 0)
    logs = "".join(Path(each.log).read_text() for each in nodes)
    return {"due": Job.objects.count(), "runs": len(re.findall(r"^\w+: ", logs, re.MULTILINE))}
