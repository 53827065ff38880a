"""Requests for tests of several nodes, through their proxy or directly."""

from __future__ import annotations

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

from accounts.models import User
from apikeys.models import APIKey
from ratelimits.models import RateLimit
from tests.apikeys.gateway.servers import call
from tiers.models import Tier

CLIENTS = 12
LIMITED = ("/rolling", "/fixed", "/total")


def add_limits(user, limit):
    """Add a limit for each path in LIMITED. None resets in the next ten minutes. Redis, if used, counts the first two."""
    period = next(length for length in (36_000, 40_000) if time.time() % length < length - 600)
    RateLimit.objects.create(tier=user.tier, path="/rolling", limit=limit, period=36_000)
    RateLimit.objects.create(tier=user.tier, path="/fixed", limit=limit, period=period, window="fixed")
    RateLimit.objects.create(user=user, path="/total", limit=limit, window="total")


def changes(key):
    """(name, change, status of the next request), to be applied in this order."""
    narrow = Tier.objects.create(name=f"narrow for {key.pk}")
    narrow.access.update(resource="/invoices")
    users, keys = User.objects.filter(pk=key.user_id), APIKey.objects.filter(pk=key.pk)
    return (
        ("suspend", lambda: users.update(is_active=False), 401),
        ("reactivate", lambda: users.update(is_active=True), 200),
        ("another tier", lambda: users.update(tier=narrow), 403),
        ("the previous tier", lambda: users.update(tier=key.user.tier), 200),
        ("revoke", lambda: keys.revoke("leaked"), 401),
    )


def verdict(server, secret, path="/orders"):
    """The response of a node or the proxy to a gateway, and the decision's status."""
    about = {"X-Original-Method": "GET", "X-Original-URI": path, "X-Real-IP": "203.0.113.9", "X-API-Key": secret}
    answer = call(server.port, path="/authz/nginx", headers=about, host=server.host)
    return answer, int(answer.headers.get("X-Auth-Status") or answer.status)


def verdicts(front, secret, path, times):
    """Send `times` requests from many clients. Return the number of responses by status, and the nodes that answered."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda _: verdict(front, secret, path), range(times)))
    return Counter(status for _, status in answers), {answer.headers["X-Node"] for answer, _ in answers}


class Browser:
    """A client with cookies. `nodes` has the node that answered each request."""

    def __init__(self, front):
        self.root = f"http://{front.host}:{front.port}"
        self.opener = build_opener(HTTPCookieProcessor(CookieJar()))
        self.nodes = []

    def get(self, path, **form):
        """GET a page, or POST a form and follow its redirect."""
        data = urlencode(form).encode() if form else None
        with self.opener.open(self.root + path, data, timeout=60) as response:
            self.nodes.append(response.headers["X-Node"])
            return response.read().decode()

    def submit(self, path, **form):
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(path))[1]
        return self.get(path, csrfmiddlewaretoken=token, **form)


def visit(front, user, name, times):
    """Sign in, change the name, and open the account page `times` times. Return these pages, and the nodes that answered."""
    browser = Browser(front)
    browser.submit("/accounts/login/", login=user.username, password="correct horse 1")
    browser.submit("/account/", name=name, username=user.username)
    return [browser.get("/account/") for _ in range(times)], set(browser.nodes)
