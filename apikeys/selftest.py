"""Does the gateway ask, obey and protect? A handful of requests through the real one, as a client would make them.

A temporary key of the person who tests is made for it and removed afterwards, with what it recorded. Only the status of
each answer is told, never its body: the test must not become a way to read what this server can reach.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.utils import timezone

from apikeys.models import APIKey, KeyPermission, KeyUsage
from apikeys.secrets import new_secret
from apikeys.services import stored_form

TIMEOUT = 3.0
LONGEST_BODY = 64 * 1024
OWN_LIMIT = 2
MARK = "forged-by-gatehouse-self-test"
FORGED = {
    **{f"X-Auth-{name}": MARK for name in ("User-Id", "Username", "Tier", "Key-Id", "Event-Id")},
    "X-Auth-Status": "200",
    "X-Original-Method": "GET",
    "X-Forwarded-Method": "GET",
}


class Unreachable(Exception):
    """The URL cannot be asked; the message says why, for the person who gave it."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    retry_after: str = ""
    # Whether the upstream showed what the client forged.
    shows_forgery: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    title: str
    expected: str
    got: str
    passed: bool


@dataclass(slots=True)
class Tester:
    """Asks one URL; the host is resolved once, so that every request goes where the first was checked to go."""

    url: SplitResult
    address: str
    results: list[Result] = field(default_factory=list)

    def ask(self, path: str, headers: dict[str, str], method: str = "GET") -> Answer:
        try:
            connection = self.connection()
        except OSError as error:
            raise self.unreachable(error) from error
        try:
            connection.request(method, path, headers={"Host": self.url.netloc, "Accept": "*/*", **headers})
            response = connection.getresponse()
            body = response.read(LONGEST_BODY)
            return Answer(response.status, response.headers.get("Retry-After", ""), MARK.encode() in body)
        except (OSError, http.client.HTTPException) as error:
            raise self.unreachable(error) from error
        finally:
            connection.close()

    def unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self.url.netloc} does not answer ({type(error).__name__}).")

    def connection(self) -> http.client.HTTPConnection:
        secure = self.url.scheme == "https"
        port = self.url.port or (443 if secure else 80)
        connection = http.client.HTTPConnection(self.address, port, timeout=TIMEOUT)
        if secure:
            connection.connect()
            # For the name in the URL, though the connection went to the address that was checked.
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=self.url.hostname)
        return connection

    def expect(self, title: str, expected: str, answer: Answer, *, passed: bool) -> None:
        self.results.append(Result(title, expected, str(answer.status), passed))


def run_self_test(url: str, tester: Any) -> list[Result]:
    """Test the gateway in front of `url` with a key of the user `tester`. Raises Unreachable."""
    target = urlsplit(url)
    test = Tester(target, checked_address(target))
    path = target.path or "/"
    with temporary_key(tester, path) as (key, secret):
        refusals(test, path)
        obedience(test, path, key, {"X-API-Key": secret})
    return test.results


def checked_address(url: SplitResult) -> str:
    """The address behind a URL's host. Raises Unreachable for one that no gateway has: link-local, multicast, none."""
    try:
        found = socket.getaddrinfo(url.hostname, url.port or 80, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"There is no host {url.hostname}.") from error
    address = str(found[0][4][0])
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    # Clouds answer with their machines' credentials at link-local addresses.
    if mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified:
        raise Unreachable(f"{url.hostname} is at {address}, where no gateway is.")
    return address


@contextmanager
def temporary_key(owner: Any, path: str) -> Iterator[tuple[APIKey, str]]:
    """A key that may read `path` and lives for some minutes at most; removed at the end with all it recorded."""
    secret = new_secret()
    key = APIKey.objects.create(
        user=owner,
        name="Gateway self-test",
        expires_at=timezone.now() + timedelta(minutes=5),
        rate_limit=OWN_LIMIT,
        rate_period=3600,
        **stored_form(secret),
    )
    KeyPermission.objects.create(api_key=key, action="read", resource=path.rstrip("/") or "/")
    try:
        yield key, secret
    finally:
        key.hard_delete()


def refusals(test: Tester, path: str) -> None:
    """What must be refused whatever the client claims to be."""
    answer = test.ask(path, {})
    test.expect("Without a key", "401", answer, passed=answer.status == HTTPStatus.UNAUTHORIZED)
    answer = test.ask(path, {"X-API-Key": new_secret()})
    test.expect("With a bad key", "401", answer, passed=answer.status == HTTPStatus.UNAUTHORIZED)
    answer = test.ask(path, {"X-API-Key": new_secret(), **FORGED})
    test.expect("With a bad key and forged headers", "401", answer, passed=answer.status == HTTPStatus.UNAUTHORIZED)


def obedience(test: Tester, path: str, key: APIKey, credential: dict[str, str]) -> None:
    """What a good key may do and may not, and whether Gatehouse was asked each time."""
    answer = test.ask(path, credential)
    asked = KeyUsage.objects.filter(api_key=key, status_code=200).exists()
    passed = asked and is_the_apis_own(answer)
    test.expect("With a good key", "the API's own answer, after Gatehouse was asked", answer, passed=passed)

    answer = test.ask(path, {**credential, **FORGED})
    passed = is_the_apis_own(answer) and not answer.shows_forgery
    test.expect("With forged identity headers", "the API does not see them", answer, passed=passed)

    elsewhere = f"{path.rstrip('/')}/gatehouse-self-test"
    claims = {"X-Original-URI": path, "X-Forwarded-Uri": path, "X-Rewrite-URL": path}
    answer = test.ask(elsewhere, {**credential, **FORGED, **claims})
    test.expect(
        "A path the key may not read, another one claimed", "403", answer, passed=answer.status == HTTPStatus.FORBIDDEN
    )
    answer = test.ask(path, {**credential, **FORGED}, "DELETE")
    test.expect(
        "A method the key may not use, another one claimed", "403", answer, passed=answer.status == HTTPStatus.FORBIDDEN
    )

    answer = test.ask(path, credential)
    passed = answer.status == HTTPStatus.TOO_MANY_REQUESTS and answer.retry_after.isdecimal()
    test.expect("Over the limit", "429 with Retry-After", answer, passed=passed)


def is_the_apis_own(answer: Answer) -> bool:
    """Whether an answer can come from the API: not a refusal, and nothing that a broken gateway says."""
    refusals = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
    return answer.status not in refusals and answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
