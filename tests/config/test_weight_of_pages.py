"""Pages load no library they don't use, and are compressed unless they may show a secret."""

from __future__ import annotations

import gzip

import pytest

from tests.rows import make_key, make_limit

pytestmark = pytest.mark.django_db

LIGHT = (
    "/admin/apikeys/apikey/", "/admin/tiers/tier/", "/admin/ratelimits/ratelimit/", "/admin/admin/logentry/",
    "/admin/auth/group/add/", "/users/", "/admin/",
)  # fmt: skip


@pytest.mark.parametrize("page", LIGHT)
def test_pages_do_not_load_unused_libraries(staff_client, alice, free, page):
    make_key(alice)
    make_limit(free)
    content = staff_client.get(page).content.decode().lower()
    for library in ("jquery", "xregexp", "urlify", "prepopulate"):
        assert library not in content


def test_fields_that_need_jquery_load_it(staff_client, alice):
    content = staff_client.get(f"/admin/accounts/user/{alice.pk}/change/").content.decode()
    assert "/jquery" in content
    assert "xregexp" not in content


def test_inline_tables_and_permission_pickers_need_no_library(staff_client, alice, free):
    key = make_key(alice)
    for page in (f"/admin/tiers/tier/{free.pk}/change/", f"/admin/apikeys/apikey/{key.pk}/change/"):
        assert "jquery" not in staff_client.get(page).content.decode().lower()


def test_pages_and_downloads_are_compressed_with_random_padding(staff_client):
    page = staff_client.get("/users/", headers={"Accept-Encoding": "gzip"})
    assert page["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in page["Vary"]
    assert b"<h1>" in gzip.decompress(page.content)
    lengths = {len(staff_client.get("/users/", headers={"Accept-Encoding": "gzip"}).content) for _ in range(5)}
    assert len(lengths) > 1, "the padding isn't random"
    download = staff_client.get("/users/export.csv", headers={"Accept-Encoding": "gzip"})
    assert b"sue@example.com" in gzip.decompress(b"".join(download.streaming_content))


def test_responses_that_can_contain_a_secret_are_not_compressed(staff_client, alice):
    key = make_key(alice)
    response = staff_client.post(
        f"/admin/apikeys/apikey/{key.pk}/rotate/", {"grace": "0"}, headers={"Accept-Encoding": "gzip"}
    )
    assert "Content-Encoding" not in response
    assert "Content-Encoding" not in staff_client.get("/users/")
