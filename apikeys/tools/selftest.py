"""Does the gateway ask, obey and protect? A handful of requests through the real one, as a client would make them.

A temporary key of the person who tests is made for it and removed afterwards, with what it recorded. Only the status of
each answer is told, never its body: the test must not become a way to read what this server can reach.
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

from apikeys.gateway.answers import NOBODY
from apikeys.models import APIKey, KeyPermission, KeyUsage
from apikeys.secrets import new_secret
from apikeys.services import stored_form

TIMEOUT = 3.0
LONGEST_BODY = 64 * 1024
# Enough for every request that should be allowed before the one that should be over the limit.
OWN_LIMIT = 6
MARK = "forged-by-gatehouse-self-test"
OTHER_HOST = "gatehouse-self-test.invalid"


def spellings(name: str) -> list[str]:
    """`name` with every mix of - and _ between its words, as CGI and WSGI servers read both alike."""
    first, *words = name.split("-")
    return [
        first + "".join(mark + word for mark, word in zip(marks, words, strict=True))
        for marks in itertools.product("-_", repeat=len(words))
    ]


FORGED_IDENTITY = {spelling: MARK for name in NOBODY for spelling in spellings(name)}
FORGED = {
    **FORGED_IDENTITY,
    "X-Auth-Status": "200",
    "X-Original-Method": "GET",
    "X-Forwarded-Method": "GET",
}
# What a client asks the gateway to remove on the way (RFC 9110, section 7.6.1). Envoy refuses more than ten names.
HOP_BY_HOP = ", ".join(("close", *NOBODY, "X-Gateway-Secret", "X-Original-URI", "X-Forwarded-Uri"))


class Unreachable(Exception):
    """The URL cannot be asked; the message says why, for the person who gave it."""


@dataclass(frozen=True, slots=True)
class Answer:
    # 0 if the connection was closed without an answer.
    status: int
    retry_after: str = ""
    body: bytes = b""

    def shows(self, text: str) -> bool:
        """Whether the API sent back `text`, as one does that shows the headers it got."""
        return text.encode() in self.body


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
            return Answer(response.status, response.headers.get("Retry-After", ""), response.read(LONGEST_BODY))
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

    def expect(self, title: str, expected: str, *answers: Answer, passed: bool) -> None:
        statuses = dict.fromkeys(str(answer.status) if answer.status else "closed" for answer in answers)
        self.results.append(Result(title, expected, ", ".join(statuses), passed))


@dataclass(slots=True)
class KeyTester:
    """Asks with a good key, and tells whether the gateway asked Gatehouse: each of its questions leaves a usage row."""

    test: Tester
    key: APIKey
    secret: str

    def ask(
        self, path: str, headers: Mapping[str, str] = MappingProxyType({}), method: str = "GET"
    ) -> tuple[Answer, bool]:
        """The answer, and whether Gatehouse was asked for it."""
        before = self.questions()
        answer = self.test.ask(path, {"X-API-Key": self.secret, **headers}, method)
        return answer, self.questions() > before

    def ask_oddly(self, path: str, headers: Mapping[str, str] = MappingProxyType({})) -> tuple[Answer, bool]:
        """As `ask`, for a request that a gateway may well refuse by closing the connection."""
        try:
            return self.ask(path, headers)
        except Unreachable:
            return Answer(0), False

    def questions(self) -> int:
        return KeyUsage.objects.filter(api_key=self.key).count()


def run_self_test(url: str, tester: Any) -> list[Result]:
    """Test the gateway in front of `url` with a key of the user `tester`. Raises Unreachable."""
    target = urlsplit(url)
    test = Tester(target, checked_address(target))
    path = target.path or "/"
    with temporary_key(tester, path) as (key, secret):
        refusals(test, path)
        client = KeyTester(test, key, secret)
        own = identity(client, path)
        coverage(client, path, own)
        obedience(client, path)
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


def identity(client: KeyTester, path: str) -> Answer:
    """What a good key gets, whatever identity the client claims; returns the API's own answer."""
    own, asked = client.ask(path)
    passed = asked and is_the_apis_own(own)
    client.test.expect("With a good key", "the API's own answer, after Gatehouse was asked", own, passed=passed)

    answer, asked = client.ask(path, FORGED)
    passed = asked and is_the_apis_own(answer) and not answer.shows(MARK)
    expected = "the API doesn't see them, in any spelling"
    client.test.expect("With forged identity headers", expected, answer, passed=passed)

    answer, asked = client.ask_oddly(path, {"Connection": HOP_BY_HOP})
    key_id = str(client.key.pk)
    lost = own.shows(key_id) and not answer.shows(key_id)
    passed = (asked and is_the_apis_own(answer) and not lost) or (not asked and is_a_refusal(answer, own))
    expected = "the API still sees who asks, or a refusal"
    client.test.expect("With the identity headers named in Connection", expected, answer, passed=passed)
    return own


def coverage(client: KeyTester, path: str, own: Answer) -> None:
    """Whether the gateway asks about every request: one that it doesn't ask about must not look like an answer."""
    expected = "Gatehouse is asked, or a refusal"
    answer, asked = client.ask_oddly(path, {"Host": OTHER_HOST})
    client.test.expect("For another host name", expected, answer, passed=asked or is_a_refusal(answer, own))

    results = [client.ask_oddly(spelling) for spelling in (f"/{path}", f"/.{path}", f"{path}%3F", f"{path}?a=%2F")]
    passed = all(asked or is_a_refusal(answer, own) for answer, asked in results)
    client.test.expect("For other spellings of the path", expected, *(answer for answer, _ in results), passed=passed)


def obedience(client: KeyTester, path: str) -> None:
    """What a good key may not do."""
    test = client.test
    elsewhere = f"{path.rstrip('/')}/gatehouse-self-test"
    claims = {"X-Original-URI": path, "X-Forwarded-Uri": path, "X-Rewrite-URL": path}
    answer, asked = client.ask(elsewhere, {**FORGED, **claims})
    passed = asked and answer.status == HTTPStatus.FORBIDDEN
    test.expect("A path the key may not read, another one claimed", "403", answer, passed=passed)
    answer, asked = client.ask(path, FORGED, "DELETE")
    passed = asked and answer.status == HTTPStatus.FORBIDDEN
    test.expect("A method the key may not use, another one claimed", "403", answer, passed=passed)

    answer = over_the_limit(client, path)
    passed = answer.status == HTTPStatus.TOO_MANY_REQUESTS and answer.retry_after.isdecimal()
    test.expect("Over the limit", "429 with Retry-After", answer, passed=passed)


def over_the_limit(client: KeyTester, path: str) -> Answer:
    """The last answer of as many requests as the key may make, and one more."""
    for _ in range(OWN_LIMIT + 1):
        answer, _asked = client.ask(path)
        if not is_the_apis_own(answer):
            break
    return answer


def is_a_refusal(answer: Answer, own: Answer) -> bool:
    """Whether this can't be taken for the API's answer. Gateways often redirect requests for names they don't serve."""
    return not answer.status or (answer.status >= HTTPStatus.MULTIPLE_CHOICES and answer.status != own.status)


def is_the_apis_own(answer: Answer) -> bool:
    """Whether an answer can come from the API: not a refusal, and nothing that a broken gateway says."""
    refusals = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS}
    return answer.status not in refusals and answer.status < HTTPStatus.INTERNAL_SERVER_ERROR
