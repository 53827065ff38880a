"""A user who fills in the same form again and again."""

from __future__ import annotations

import http.client
import threading
from contextlib import suppress
from urllib.parse import urlencode

from tests.apikeys.gateway.servers import call

# The CSRF token, sent both as cookie and as field.
TOKEN = "a" * 32


class FormUser:
    """A thread that changes the user's name until the block ends.

    statuses: of the responses. lost: number of 503 pages without the submitted name.
    """

    def __init__(self, port, session):
        self.port, self.session = port, session
        self.statuses, self.lost = [], 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._save_often)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()

    def _save_often(self):
        number = 0
        while not self._stop.wait(0.2):
            number += 1
            with suppress(OSError, http.client.HTTPException):  # the node may be down
                self._save(f"Typed {number}")

    def _save(self, name):
        headers = {
            "Host": "localhost",
            "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": f"session={self.session}; csrf={TOKEN}",
        }
        body = urlencode({"name": name, "username": "anna", "csrfmiddlewaretoken": TOKEN})
        answer = call(self.port, "POST", "/account/", headers, body)
        self.statuses.append(answer.status)
        self.lost += answer.status == 503 and f'value="{name}"'.encode() not in answer.body
