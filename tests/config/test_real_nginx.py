"""docs/deploy/nginx.conf in nginx in front of Gatehouse: TLS, denied paths and headers."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from config.middleware import MACHINE_HEADERS
from tests.apikeys.gateway.servers import Answer, free_port, gatehouse, nginx_command, require_gateway, running
from tests.config.settings_file import ROOT

pytestmark = [pytest.mark.gateway, pytest.mark.django_db(transaction=True)]


def write_certificate(directory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    (directory / "fullchain.pem").write_bytes(certificate.public_bytes(pem))
    (directory / "privkey.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, no_password))


@contextmanager
def nginx(tmp_path):
    """nginx with the documented configuration, including TLS, in front of Gatehouse in HTTPS mode."""
    directory, plain, tls = tmp_path / "nginx", free_port(), free_port()
    directory.mkdir()
    write_certificate(directory)
    (tmp_path / "gatehouse").mkdir()
    with gatehouse(tmp_path / "gatehouse", HTTPS_ONLY="true", TRUSTED_PROXY_HOPS="1") as process:
        text = (ROOT / "docs/deploy/nginx.conf").read_text().replace("#tls ", "")
        for documented, actual in (
            ("listen 80;", f"listen 127.0.0.1:{plain};"),
            ("listen 443 ssl;", f"listen 127.0.0.1:{tls} ssl;"),
            ("/etc/nginx/tls", str(directory)),
            ("http://app:8000", f"http://127.0.0.1:{process.port}"),
        ):
            assert documented in text
            text = text.replace(documented, actual)
        command = [require_gateway("nginx"), *nginx_command(text, directory)[1:]]
        with running(command, directory / "log", port=tls):
            yield SimpleNamespace(plain=plain, tls=tls, gatehouse=process)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory, django_db_setup):
    with nginx(tmp_path_factory.mktemp("proxy")) as servers:
        yield servers


def over_tls(proxy, method, path, headers=None, body=None):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = http.client.HTTPSConnection("127.0.0.1", proxy.tls, timeout=60, context=context)
    try:
        client.request(method, path, body, {"Host": "localhost", **(headers or {})})
        return Answer(client.getresponse())
    finally:
        client.close()


def over_http(port, request):
    """Send raw bytes, such as http.client wouldn't send. Return the response."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return Answer(response)


def header_problems(answer):
    """Security headers that are missing, repeated or have another value, and the server's version if shown."""
    policies = answer.headers.get_all("Content-Security-Policy") or []
    strict = len(policies) == 1 and policies[0].startswith("default-src 'none';")
    found = [] if strict else ["Content-Security-Policy"]
    found += [name for name, value in MACHINE_HEADERS[1:] if answer.headers.get_all(name) != [value]]
    return found + [text for text in answer.headers.get_all("Server") if re.search(r"\d", text)]


def test_responses_from_gatehouse_have_each_header_once(proxy):
    page = over_tls(proxy, "GET", "/accounts/login/")
    missing = over_tls(proxy, "GET", "/no-such-page")
    assert (page.status, missing.status) == (200, 404)
    for answer in (page, missing):
        assert header_problems(answer) == []
        assert answer.headers.get_all("Strict-Transport-Security") == ["max-age=31536000; includeSubDomains; preload"]
    assert "style-src 'self'" in page.headers["Content-Security-Policy"]
    assert page.headers["Set-Cookie"].startswith("__Host-csrf=")


def test_plain_http_redirects_to_https(proxy):
    answer = over_http(proxy.plain, b"GET /accounts/login/?next=/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (answer.status, answer.headers["Location"]) == (301, "https://localhost/accounts/login/?next=/")
    assert header_problems(answer) == []
    assert "Strict-Transport-Security" not in answer.headers


def test_responses_from_nginx_have_the_same_headers(tmp_path):
    with nginx(tmp_path) as proxy:
        assert_nginx_answers_with_the_same_headers(proxy)


def assert_nginx_answers_with_the_same_headers(proxy):
    answers = {
        403: over_tls(proxy, "GET", "/authz/nginx"),
        413: over_tls(proxy, "POST", "/accounts/login/", {"Content-Length": str(7 * 1024 * 1024)}),
        414: over_tls(proxy, "GET", f"/{'x' * 9_000}"),
        400: over_tls(proxy, "GET", "/", {"X-Long": "x" * 9_000}),
        405: over_tls(proxy, "TRACE", "/"),
    }
    proxy.gatehouse.terminate()
    proxy.gatehouse.wait(60)
    answers[502] = over_tls(proxy, "GET", "/")
    assert [answer.status for answer in answers.values()] == list(answers)
    for answer in answers.values():
        assert header_problems(answer) == []
        assert answer.headers.get_all("Strict-Transport-Security") == ["max-age=31536000; includeSubDomains; preload"]
        assert b"nginx/" not in answer.body


INVALID_REQUESTS = [b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"]


def test_invalid_requests_get_the_same_headers(proxy):
    for port in (proxy.plain, proxy.tls):
        for request in INVALID_REQUESTS:
            answer = over_http(port, request)
            assert (answer.status, header_problems(answer)) == (400, [])


def test_machine_endpoints_are_denied_in_any_spelling(proxy):
    for path in ("/authz/nginx", "/%61uthz/nginx", "//authz/nginx", "/x/../authz/nginx", "/authz/"):
        assert over_tls(proxy, "GET", path).status == 403


def test_clients_cannot_pretend_to_use_https(proxy):
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Proto: https\r\n\r\n"
    assert over_http(proxy.plain, request).status == 301
