"""Test a gateway by sending it requests as a client would, with a temporary key of the person who runs the test.

People only see the status of each response, never its body: the test must not let them read what this server can reach.
"""

from __future__ import annotations

import http.client
import ipaddress
import itertools
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.utils import timezone

from apikeys.decision.checks import Facts
from apikeys.decision.credentials import MISSING
from apikeys.decision.explain import explain
from apikeys.gateway.answers import EMPTY_IDENTITY
from apikeys.models import APIKey, KeyPermission, KeyUsage
from apikeys.secrets import new_secret
from apikeys.services import stored_form
from config.base.hosts import normal_host

TIMEOUT = 3.0
MAX_BODY = 64 * 1024
# Enough for every request that should be allowed before the one that should be rate limited.
KEY_LIMIT = 6
FORGED_VALUE = "forged-by-gatehouse-self-test"
OTHER_HOST = "gatehouse-self-test.invalid"
DENIALS = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}


def spellings(name: str) -> list[str]:
    """`name` with every mix of - and _ between its words: CGI and WSGI servers read both alike."""
    first, *words = name.split("-")
    return [
        first + "".join(mark + word for mark, word in zip(marks, words, strict=True))
        for marks in itertools.product("-_", repeat=len(words))
    ]


FORGED_IDENTITY = {spelling: FORGED_VALUE for name in EMPTY_IDENTITY for spelling in spellings(name)}
FORGED = {
    **FORGED_IDENTITY,
    "X-Auth-Status": "200",
    "X-Original-Method": "GET",
    "X-Forwarded-Method": "GET",
    "X-Original-Host": OTHER_HOST,
    "X-Forwarded-Host": OTHER_HOST,
}
# Headers that a client asks the gateway to remove (RFC 9110, section 7.6.1). Envoy rejects more than ten names.
HOP_BY_HOP = ", ".join(("close", *EMPTY_IDENTITY, "X-Gateway-Secret", "X-Original-URI", "X-Forwarded-Uri"))


class Unreachable(Exception):
    """The URL can't be tested; the message says why."""


@dataclass(frozen=True, slots=True)
class Response:
    # 0 if the connection was closed without a response.
    status: int
    retry_after: str = ""
    body: bytes = b""

    def contains(self, text: str) -> bool:
        return text.encode() in self.body

    @property
    def may_be_from_api(self) -> bool:
        return self.status not in DENIALS and self.status < HTTPStatus.INTERNAL_SERVER_ERROR

    def is_rejection(self, normal: Response) -> bool:
        """Whether it can't be mistaken for the API's normal response. Gateways often redirect hosts they don't serve."""
        return not self.status or (self.status >= HTTPStatus.MULTIPLE_CHOICES and self.status != normal.status)


@dataclass(frozen=True, slots=True)
class Result:
    title: str
    expected: str
    got: str
    passed: bool


@dataclass(slots=True)
class Tester:
    """Sends requests to one URL. Its host is resolved once: every request goes to the address that was checked."""

    url: SplitResult
    address: str
    results: list[Result] = field(default_factory=list)

    def send(self, path: str, headers: dict[str, str], method: str = "GET") -> Response:
        try:
            connection = self.connection()
        except OSError as error:
            raise self.unreachable(error) from error
        try:
            connection.request(method, path, headers={"Host": self.url.netloc, "Accept": "*/*", **headers})
            response = connection.getresponse()
            return Response(response.status, response.headers.get("Retry-After", ""), response.read(MAX_BODY))
        except (OSError, http.client.HTTPException) as error:
            raise self.unreachable(error) from error
        finally:
            connection.close()

    def unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self.url.netloc} doesn't respond ({type(error).__name__}).")

    def connection(self) -> http.client.HTTPConnection:
        secure = self.url.scheme == "https"
        port = self.url.port or (443 if secure else 80)
        connection = http.client.HTTPConnection(self.address, port, timeout=TIMEOUT)
        if secure:
            connection.connect()
            # Verify the name in the URL, although the connection goes to the address that was checked.
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=self.url.hostname)
        return connection

    def record(self, title: str, expected: str, *responses: Response, passed: bool) -> None:
        statuses = dict.fromkeys(str(response.status) if response.status else "closed" for response in responses)
        self.results.append(Result(title, expected, ", ".join(statuses), passed))


@dataclass(slots=True)
class KeyTester:
    """Sends requests with a valid key. The usage events of the key tell whether the gateway asked Gatehouse."""

    tester: Tester
    key: APIKey
    secret: str

    def send(
        self, path: str, headers: Mapping[str, str] = MappingProxyType({}), method: str = "GET"
    ) -> tuple[Response, bool]:
        """The response, and whether the gateway asked Gatehouse about the request."""
        events = KeyUsage.objects.filter(api_key=self.key)
        before = events.count()
        response = self.tester.send(path, {"X-API-Key": self.secret, **headers}, method)
        return response, events.count() > before

    def last_host(self) -> str:
        """The host that the gateway sent with the last request."""
        return KeyUsage.objects.filter(api_key=self.key).values_list("host", flat=True).first() or ""

    def send_unusual(self, path: str, headers: Mapping[str, str] = MappingProxyType({})) -> tuple[Response, bool]:
        try:
            return self.send(path, headers)
        except Unreachable:
            return Response(0), False


def run_self_test(url: str, user: Any) -> list[Result]:
    """Test the gateway in front of `url` with a key of `user`. Raises Unreachable."""
    target = urlsplit(url)
    tester = Tester(target, checked_address(target))
    path = target.path or "/"
    with temporary_key(user, path) as (key, secret):
        check_without_key(tester, path)
        check_bad_keys(tester, path)
        client = KeyTester(tester, key, secret)
        normal = check_identity(client, path)
        check_coverage(client, path, normal)
        check_denials(client, path)
    return tester.results


def checked_address(url: SplitResult) -> str:
    """The address of the URL's host. Raises Unreachable if no gateway can be there: link-local, multicast, unspecified."""
    try:
        found = socket.getaddrinfo(url.hostname, url.port or 80, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"The host {url.hostname} can't be found.") from error
    address = str(found[0][4][0])
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    # Cloud machines get their credentials from a link-local address.
    if mapped.is_link_local or mapped.is_multicast or mapped.is_unspecified:
        raise Unreachable(f"{url.hostname} resolves to {address}, which can't be a gateway.")
    return address


@contextmanager
def temporary_key(owner: Any, path: str) -> Iterator[tuple[APIKey, str]]:
    secret = new_secret()
    key = APIKey.objects.create(
        user=owner,
        name="Gateway self-test",
        expires_at=timezone.now() + timedelta(minutes=5),
        rate_limit=KEY_LIMIT,
        rate_period=3600,
        **stored_form(secret),
    )
    KeyPermission.objects.create(api_key=key, action="read", resource=path.rstrip("/") or "/")
    try:
        yield key, secret
    finally:
        key.hard_delete()


def check_without_key(tester: Tester, path: str) -> None:
    """If ANONYMOUS_TIER has access to the path, the API may answer."""
    expected = explain(Facts(MISSING, "GET", path, host=normal_host(tester.url.netloc)))
    response = tester.send(path, {})
    if expected.reason in {"", "rate_limited"}:
        passed = response.may_be_from_api or response.status == HTTPStatus.TOO_MANY_REQUESTS
        tester.record("Without a key", "the API's response", response, passed=passed)
    else:
        tester.record("Without a key", str(expected.status), response, passed=response.status == expected.status)


def check_bad_keys(tester: Tester, path: str) -> None:
    for title, headers in (
        ("With a bad key", {"X-API-Key": new_secret()}),
        ("With a bad key and forged headers", {"X-API-Key": new_secret(), **FORGED}),
    ):
        response = tester.send(path, headers)
        tester.record(title, "401", response, passed=response.status == HTTPStatus.UNAUTHORIZED)


def check_identity(client: KeyTester, path: str) -> Response:
    """Send a valid key, with and without forged identity headers. Returns the API's normal response."""
    record = client.tester.record
    normal, asked = client.send(path)
    expected = "the API's response, after asking Gatehouse"
    record("With a valid key", expected, normal, passed=asked and normal.may_be_from_api)

    response, asked = client.send(path, FORGED)
    passed = asked and response.may_be_from_api and not response.contains(FORGED_VALUE)
    record("With forged identity headers", "they don't reach the API, in any spelling", response, passed=passed)

    record(
        "With a forged host", "Gatehouse gets the real one", response, passed=client.last_host() not in {"", OTHER_HOST}
    )

    response, asked = client.send_unusual(path, {"Connection": HOP_BY_HOP})
    key_id = str(client.key.pk)
    lost = normal.contains(key_id) and not response.contains(key_id)
    passed = (asked and response.may_be_from_api and not lost) or (not asked and response.is_rejection(normal))
    expected = "the identity still reaches the API, or the request is rejected"
    record("With the identity headers named in Connection", expected, response, passed=passed)
    return normal


def check_coverage(client: KeyTester, path: str, normal: Response) -> None:
    expected = "Gatehouse is asked, or the request is rejected"
    response, asked = client.send_unusual(path, {"Host": OTHER_HOST})
    passed = asked or response.is_rejection(normal)
    client.tester.record("For another host name", expected, response, passed=passed)

    results = [client.send_unusual(spelling) for spelling in (f"/{path}", f"/.{path}", f"{path}%3F", f"{path}?a=%2F")]
    passed = all(asked or response.is_rejection(normal) for response, asked in results)
    responses = [response for response, _ in results]
    client.tester.record("For other spellings of the path", expected, *responses, passed=passed)


def check_denials(client: KeyTester, path: str) -> None:
    record = client.tester.record
    other_path = f"{path.rstrip('/')}/gatehouse-self-test"
    claims = {"X-Original-URI": path, "X-Forwarded-Uri": path, "X-Rewrite-URL": path}
    response, asked = client.send(other_path, {**FORGED, **claims})
    passed = asked and response.status == HTTPStatus.FORBIDDEN
    record("For a path without permission, claiming another", "403", response, passed=passed)

    response, asked = client.send(path, FORGED, "DELETE")
    passed = asked and response.status == HTTPStatus.FORBIDDEN
    record("For a method without permission, claiming another", "403", response, passed=passed)

    response = exceed_limit(client, path)
    passed = response.status == HTTPStatus.TOO_MANY_REQUESTS and response.retry_after.isdecimal()
    record("Over the rate limit", "429 with Retry-After", response, passed=passed)


def exceed_limit(client: KeyTester, path: str) -> Response:
    for _ in range(KEY_LIMIT + 1):
        response, _asked = client.send(path)
        if not response.may_be_from_api:
            break
    return response
