"""/users/export.csv: the filtered list, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
from io import StringIO

import pytest

from accounts.models import User
from tests.accounts.people import signed_in
from tests.rows import make_staff

pytestmark = pytest.mark.django_db


def rows(response):
    return list(csv.reader(StringIO(b"".join(response.streaming_content).decode("utf-8-sig"))))


def test_the_export_holds_what_the_filter_finds_in_the_order_of_the_list(staff_client, alice, bob):
    bob.suspend()
    response = staff_client.get("/users/export.csv?staff=no&sort=-username")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    assert response.streaming
    head, *body = rows(response)
    assert head[:6] == ["id", "name", "username", "email", "tier", "state"]
    assert [row[2:6] for row in body] == [
        ["bob", "bob@example.com", "free", "suspended"],
        ["alice", "alice@example.com", "free", "active"],
    ]


def test_a_name_that_a_spreadsheet_would_run_is_quoted(staff_client, alice):
    User.objects.filter(pk=alice.pk).update(name="=cmd|' /C calc'!A0")
    assert rows(staff_client.get("/users/export.csv?staff=no"))[1][1] == "'=cmd|' /C calc'!A0"


def test_no_hash_leaves_the_house(staff_client, alice):
    content = b"".join(staff_client.get("/users/export.csv?state=all").streaming_content)
    assert b"argon2" not in content


@pytest.mark.parametrize("count", [1, 40])
def test_the_number_of_queries_does_not_grow_with_the_rows(client, sue, django_assert_num_queries, count):
    User.objects.bulk_create(
        User(username=f"u{n}", email=f"u{n}@example.com", name=f"User {n}", tier=sue.tier) for n in range(count)
    )
    client.force_login(sue)
    rows(client.get("/users/export.csv"))
    with django_assert_num_queries(3):
        assert len(rows(client.get("/users/export.csv"))) == count + 2


def test_whoever_may_not_see_the_list_gets_no_export(alice):
    assert signed_in(make_staff("steve", "change_user")).get("/users/export.csv").status_code == 403
