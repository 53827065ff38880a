"""Run the previous release next to this one, for tests of rolling upgrades."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.apikeys.gateway.load import Clients, as_service
from tests.apikeys.gateway.servers import ROOT, call
from tests.config.node_checks import verdict
from tests.config.nodes import node, nodes_behind_nginx

# Contains the commit of the previous release. Change it with each release.
BASELINE = Path(__file__).with_name("previous_release.txt")
PAGES = ("/account/", "/users/", "/admin/", "/admin/apikeys/apikey/", "/account/keys/")
# Creates a superuser on a new tier with a key and a rate limit. Prints the key's secret and a session key.
CREATE_USER = """
import sys
import django
django.setup()
from django.test import Client
from accounts.models import User
from apikeys.models import APIKey, KeyPermission
from apikeys.secrets import new_secret
from apikeys.services import stored_form
from ratelimits.models import RateLimit
from tiers.models import Tier
name = sys.argv[1]
tier = Tier.objects.create(name=f"tier of {name}")
RateLimit.objects.create(tier=tier, path="/orders", limit=1_000_000)
user = User.objects.create_superuser(name, f"{name}@example.com", "correct horse 1", tier=tier)
secret = new_secret()
key = APIKey.objects.create(user=user, name="orders", **stored_form(secret))
KeyPermission.objects.create(api_key=key, action="*", resource="*")
browser = Client()
browser.force_login(user)
print(secret, browser.cookies["session"].value)
"""


def git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)


def previous_release(directory):
    """Unpack its code. Skip the test without Git history, and fail if the history lacks the commit."""
    commit = BASELINE.read_text().split()[0]
    archive = git("archive", commit)
    if archive.returncode:
        if git("rev-parse", "--is-shallow-repository").stdout.strip() != b"false":
            pytest.skip(
                f"ROLLING UPGRADE NOT CHECKED: no history here. It needs commit {commit}: git fetch --unshallow"
            )
        pytest.fail(f"{BASELINE.name} names commit {commit}, which isn't in the history.")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(directory, filter="data")
    return directory


def python(code, arguments, **environment):
    """Run Python in a directory with code. Return its output."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=code,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def migrate(code, **environment):
    python(code, ["manage.py", "migrate", "-v0"], **environment)


def create_user(code, name, **environment):
    """Create a user with a version's code. Return the secret of their key, and a session key."""
    settings = {"DJANGO_SETTINGS_MODULE": "config.settings", **environment}
    return python(code, ["-W", "ignore", "-c", CREATE_USER, name], **settings).split()


def request_as_staff(session, page, client, secret):
    client.request("GET", page, headers={"Cookie": f"session={session}"})


def upgraded(directory, machines, *, host="127.0.0.1", answers=30, **environment):
    """Upgrade nodes of the previous release one by one under load. Return the load, which has the clients' responses.

    answers: how many responses to wait for at each step.
    """
    old = previous_release(directory / "previous")
    environment |= {"DRAIN_SECONDS": "2", "VAR_DIR": str(directory)}
    migrate(old, **environment)
    secret, session = create_user(old, "alice", **environment)
    asking = (as_service, *(partial(request_as_staff, session, page) for page in PAGES))
    with (
        nodes_behind_nginx(directory, machines, host=host, code=old, **environment) as (front, nodes),
        Clients(front.port, [secret], asking=asking, pause=0.02, host=host) as load,
        ExitStack() as new,
    ):
        load.wait_for(answers)
        migrate(ROOT, **environment)
        bobs, _ = create_user(old, "bob", **environment)
        load.wait_for(answers)
        for each, machine in zip(nodes, machines, strict=True):
            assert is_ready(each)
            each.send_signal(signal.SIGTERM)
            each.wait(60)
            new.enter_context(node(directory / f"new-{each.port}", machine=machine, port=each.port, **environment))
            assert is_ready(each)
            load.wait_for(answers)
        assert verdict(front, bobs)[1] == 200
        load.stop()
    return load


def is_ready(node):
    return call(node.port, path="/readyz", host=node.host).status == 200
