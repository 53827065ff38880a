"""Search of users and keys: matching words, order, and the text index on SQLite."""

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
    """Two matches are already too many to look up by ID."""
    for module in (matching, managers):
        monkeypatch.setattr(module, "MAX_MATCHES", 1)


@pytest.fixture
def people(free):
    for name in ("zoe", "enzo", "anna"):
        make_user(name)
    User.objects.filter(username="anna").update(name="Anna Zorn")


def test_results_keep_the_order_of_the_queryset(people):
    assert found("example.com") == ["zoe", "enzo", "anna"]
    assert [user.username for user in User.objects.matching("example.com")] == ["anna", "enzo", "zoe"]
    assert [user.username for user in User.objects.order_by("tier__name", Upper("name")).matching("zorn")] == ["anna"]


def test_all_words_have_to_match(people):
    assert found("zorn anna example.com") == found("anna zorn") == ["anna"]
    assert found("zorn enzo") == []


def test_words_with_many_matches_find_all_rows(people, few_matches):
    assert found("example.com") == ["zoe", "enzo", "anna"]
    assert found("example.com zorn") == ["anna"]
    assert found("") == ["zoe", "enzo", "anna"]


def test_one_or_two_letters_match_the_start_of_a_word(people):
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


def test_keys_are_found_by_name_owner_prefix_and_last_four(people):
    anna, zoe = User.objects.get(username="anna"), User.objects.get(username="zoe")
    make_key(anna, "Nightly export", prefix="gate_Ab3dE1", last4="9xYz")
    make_key(zoe, "Import", prefix="gate_Zz9999", last4="0000")
    for text in ("nightly", "zorn", "anna@example.com", "gate_Ab", "9xYz", "export anna", "gate_Ab3dE1…9xYz", "ni"):
        assert found_keys(text) == ["Nightly export"], text
    assert found_keys("example.com") == ["Import", "Nightly export"]
    for text in ("9xyz", "xYz", "Ab3dE1", "gate_Ab3dE1…0000", "import anna"):
        assert found_keys(text) == [], text


def test_keys_of_many_matching_owners_are_found(people, few_matches):
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


def indexed_ids(text):
    return text_index.find("default", f'"{text}"', 10)


@on_sqlite
def test_the_index_is_updated_by_every_write(alice):
    assert indexed_ids("alice") == [alice.pk]
    User.objects.filter(pk=alice.pk).update(name="Ada Lovelace")
    assert indexed_ids("lovelace") == [alice.pk]
    alice.refresh_from_db()
    alice.username = "countess"
    alice.save()
    assert indexed_ids("countess") == [alice.pk]
    User.objects.filter(pk=alice.pk).hard_delete()
    assert indexed_ids("lovelace") == []


@on_sqlite
def test_the_table_is_searched_while_the_index_is_incomplete(people):
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER user_search_added")
    make_user("beatrice")
    assert indexed_ids("beatrice") == []
    assert found("beatrice") == ["beatrice"]
    text_index.repair("default")
    assert len(indexed_ids("beatrice")) == 1
    assert text_index.is_complete("default")


@on_sqlite
def test_repair_does_not_create_a_missing_index(people):
    other = TextIndex("tiers", ("name_folded",))
    other.repair("default")
    assert not other.is_complete("default")


@on_sqlite
def test_an_index_that_cannot_be_created_is_skipped(db):
    with transaction.atomic():
        TextIndex("tiers", ("no_such_column",)).create("default")
    assert not TextIndex("tiers", ("no_such_column",)).is_complete("default")
