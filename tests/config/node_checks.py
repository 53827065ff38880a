"""What several nodes must do as one: asked through the proxy in front of them, or each by itself."""

from __future__ import annotations

import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

from tests.apikeys.gateway.servers import call

CLIENTS = 12


def verdict(server, secret, path="/orders"):
    """The answer of a node, or of the proxy, to a gateway; and its status."""
    about = {"X-Original-Method": "GET", "X-Original-URI": path, "X-Real-IP": "203.0.113.9", "X-API-Key": secret}
    answer = call(server.port, path="/authz/nginx", headers=about)
    return answer, int(answer.headers.get("X-Auth-Status") or answer.status)


def verdicts(front, secret, path, times):
    """({status: how many of the requests got it}, the nodes that answered) for `times` requests of many clients."""
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda _: verdict(front, secret, path), range(times)))
    return Counter(status for _, status in answers), {answer.headers["X-Node"] for answer, _ in answers}


class Browser:
    """Keeps its cookies. `nodes` are those that answered."""

    def __init__(self, front):
        self.root = f"http://127.0.0.1:{front.port}"
        self.opener = build_opener(HTTPCookieProcessor(CookieJar()))
        self.nodes = []

    def get(self, path, **form):
        """The page; with a form, what it leads to."""
        data = urlencode(form).encode() if form else None
        with self.opener.open(self.root + path, data, timeout=60) as response:
            self.nodes.append(response.headers["X-Node"])
            return response.read().decode()

    def submit(self, path, **form):
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(path))[1]
        return self.get(path, csrfmiddlewaretoken=token, **form)
