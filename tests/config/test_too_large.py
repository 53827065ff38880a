"""A form or file that is over a limit of Django's is answered with a page that says so."""

from __future__ import annotations

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "data",
    [
        {"login": "x" * 3_000_000},
        {f"field{number}": "x" for number in range(1_001)},
        {f"file{number}": SimpleUploadedFile("a.txt", b"a") for number in range(101)},
    ],
    ids=["bytes", "fields", "files"],
)
def test_what_is_over_a_limit_is_told(client, data):
    client.raise_request_exception = False
    response = client.post("/accounts/login/", data)
    assert response.status_code == 413
    assert "This is too large to send at once" in response.content.decode()


def test_any_other_bad_request_is_still_400(client):
    response = client.get("/users/?q=%00")
    assert response.status_code == 400
    assert "We couldn't understand this request" in response.content.decode()
