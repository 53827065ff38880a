"""Request IDs, security headers, NUL characters and caching."""

from __future__ import annotations

import logging

import pytest

from config.middleware import RequestIdFilter

pytestmark = pytest.mark.django_db


def test_every_response_has_a_unique_request_id(client):
    ids = {client.get("/livez")["X-Request-Id"] for _ in range(3)}
    assert len(ids) == 3


def test_the_request_id_is_a_dash_outside_of_requests():
    record = logging.LogRecord("x", logging.INFO, "", 0, "", (), None)
    assert RequestIdFilter().filter(record)
    assert record.request_id == "-"


@pytest.mark.parametrize("path", ["/livez", "/admin/login/", "/no-such-page"])
def test_every_response_has_the_security_headers(client, path):
    response = client.get(path, follow=True)
    policy = response["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"
    assert "camera=()" in response["Permissions-Policy"]


@pytest.mark.parametrize("path", ["/admin/?q=%00", "/admin/%00", "/livez?a=1&b=%00"])
def test_a_nul_character_is_a_bad_request(client, path):
    assert client.get(path).status_code == 400


def test_pages_of_a_signed_in_user_are_not_stored(staff_client):
    assert "no-store" in staff_client.get("/admin/")["Cache-Control"]
