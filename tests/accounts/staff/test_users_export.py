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


def test_the_export_has_the_filtered_users_in_the_order_of_the_list(staff_client, alice, bob):
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


def test_formulas_in_names_are_quoted(staff_client, alice):
    User.objects.filter(pk=alice.pk).update(name="=cmd|' /C calc'!A0")
    assert rows(staff_client.get("/users/export.csv?staff=no"))[1][1] == "'=cmd|' /C calc'!A0"


def test_the_export_contains_no_password_hashes(staff_client, alice):
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


def test_exporting_requires_the_permission_to_view_users(alice):
    assert signed_in(make_staff("steve", "change_user")).get("/users/export.csv").status_code == 403
