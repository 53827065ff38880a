"""Search of users and keys: what a word finds, in which order, and by which index."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.db.models.functions import Upper

from accounts import managers
from accounts.managers import text_index
from accounts.models import User
from apikeys.models import APIKey
from config.base import matching
from config.base.text_index import TextIndex
from tests.conftest import make_user
from tests.rows import make_key

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db]
on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has trigram indexes")


def found(text, **filters):
    return [user.username for user in User.objects.filter(**filters).order_by("-username").matching(text)]


def found_keys(text):
    return [key.name for key in APIKey.objects.order_by("name").matching(text)]


@pytest.fixture
def few_matches(monkeypatch):
    """Two matches are already too many to look up first."""
    for module in (matching, managers):
        monkeypatch.setattr(module, "MAX_MATCHES", 1)


@pytest.fixture
def people(free):
    for name in ("zoe", "enzo", "anna"):
        make_user(name)
    User.objects.filter(username="anna").update(name="Anna Zorn")


def test_results_are_in_the_order_of_the_list(people):
    assert found("example.com") == ["zoe", "enzo", "anna"]
    assert [user.username for user in User.objects.matching("example.com")] == ["anna", "enzo", "zoe"]
    assert [user.username for user in User.objects.order_by("tier__name", Upper("name")).matching("zorn")] == ["anna"]


def test_all_words_have_to_match_in_any_order(people):
    assert found("zorn anna example.com") == found("anna zorn") == ["anna"]
    assert found("zorn enzo") == []


def test_words_that_match_too_many_rows_find_them_all_the_same(people, few_matches):
    assert found("example.com") == ["zoe", "enzo", "anna"]
    assert found("example.com zorn") == ["anna"]
    assert found("") == ["zoe", "enzo", "anna"]


def test_one_or_two_letters_are_found_at_the_start_of_a_word(people):
    assert found("zo") == ["zoe", "anna"]
    assert found("e") == ["enzo"]
    assert found("zo", username="zoe") == ["zoe"]
    make_user("李明")
    User.objects.filter(username="李明").update(username="li")
    assert found("明") == ["li"]


def test_quotes_and_operators_are_plain_text(people):
    for text in (
        '"zoe',
        "zoe*",
        "zoe OR anna",
        "username:zoe",
        "{email}",
        '"""',
        "' OR 1=1 --",
        "(zoe)",
        "^zoe",
        "zoe\\",
    ):
        assert found(text) == []


def test_keys_are_found_by_name_owner_start_and_end(people):
    anna, zoe = User.objects.get(username="anna"), User.objects.get(username="zoe")
    make_key(anna, "Nightly export", prefix="gate_Ab3dE1", last4="9xYz")
    make_key(zoe, "Import", prefix="gate_Zz9999", last4="0000")
    for text in ("nightly", "zorn", "anna@example.com", "gate_Ab", "9xYz", "export anna", "gate_Ab3dE1…9xYz", "ni"):
        assert found_keys(text) == ["Nightly export"], text
    assert found_keys("example.com") == ["Import", "Nightly export"]
    for text in ("9xyz", "xYz", "Ab3dE1", "gate_Ab3dE1…0000", "import anna"):
        assert found_keys(text) == [], text


def test_keys_of_very_many_owners_are_all_found(people, few_matches):
    for user in User.objects.all():
        make_key(user, f"key of {user}")
    assert found_keys("example.com") == ["key of anna", "key of enzo", "key of zoe"]
    assert found_keys("example.com zorn") == ["key of anna"]


@pytest.mark.parametrize("count", [1, 30])
def test_the_number_of_queries_does_not_grow(free, django_assert_max_num_queries, count):
    for number in range(count):
        make_key(make_user(f"user{number}"), "Nightly")
    with django_assert_max_num_queries(7):
        assert len(found_keys("user nightly")) == count


# --- SQLite


def indexed(text):
    return text_index.find("default", f'"{text}"', 10)


@on_sqlite
def test_the_index_follows_every_write(alice):
    assert indexed("alice") == [alice.pk]
    User.objects.filter(pk=alice.pk).update(name="Ada Lovelace")
    assert indexed("lovelace") == [alice.pk]
    alice.refresh_from_db()
    alice.username = "countess"
    alice.save()
    assert indexed("countess") == [alice.pk]
    User.objects.filter(pk=alice.pk).hard_delete()
    assert indexed("lovelace") == []


@on_sqlite
def test_without_the_index_the_table_is_searched_until_migrate_repairs_it(people):
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER user_search_added")
    make_user("beatrice")
    assert indexed("beatrice") == []
    assert found("beatrice") == ["beatrice"]
    text_index.repair("default")
    assert len(indexed("beatrice")) == 1
    assert text_index.is_complete("default")


@on_sqlite
def test_nothing_is_repaired_where_no_index_was_made(people):
    other = TextIndex("tiers", ("name_folded",))
    other.repair("default")
    assert not other.is_complete("default")


@on_sqlite
def test_an_index_that_sqlite_cannot_make_is_left_out(db):
    with transaction.atomic():
        TextIndex("tiers", ("no_such_column",)).create("default")
    assert not TextIndex("tiers", ("no_such_column",)).is_complete("default")
