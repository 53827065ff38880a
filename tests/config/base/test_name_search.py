"""Search ignores differences in case, ligatures, full-width and Turkish letters, on both databases."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import DatabaseError, connection, models
from django.db.migrations.executor import MigrationExecutor
from django.db.models.functions import Upper

from accounts.erasure import erase
from accounts.managers import user_has
from accounts.models import User
from apikeys.models import APIKey
from apikeys.models.keys import own_conditions
from config.base.history import Author, LogEntry, snapshot
from config.base.search import trigram_indexes
from config.base.text import search_form
from ratelimits.models import RateLimit
from tests.accounts.people import signed_in
from tests.config.base.sections import SECTIONS, changelist, list_path
from tests.conftest import make_user
from tests.rows import make_key, make_limit
from tiers.models import Tier

# A name, and the searches that find it.
FOUND = [
    ("Anna Weiß", ("Weiß", "weiss", "WEISS", "weiß", "WEIẞ", "anna weiss", "ｗｅｉｓｓ", "wei\u200bss")),
    ("İstanbul", ("İstanbul", "istanbul", "ISTANBUL", "ıstanbul", "i\u0307stanbul", "stanbul")),
    ("Işık Isparta", ("ışık", "IŞIK", "Işık", "işik", "ısparta", "isparta")),
    ("Oﬃce ﬁle", ("office", "OFFICE", "oﬃce", "file", "FILE")),
    ("ＡＣＭＥ Ｃｏｒｐ", ("acme", "ACME", "Corp", "ｃｏｒｐ", "ＡＣＭＥ")),
    ("Σίσυφος", ("σίσυφος", "ΣΊΣΥΦΟΣ", "σίσυφοσ", "Σίσυφος")),
    ("Zoë Müller", ("zoë", "ZOË", "zoe\u0308", "MÜLLER", "müller")),
    ("Łukasz Żółć", ("łukasz", "ŁUKASZ", "żółć", "ŻÓŁĆ")),
    ("Дмитрий", ("дмитрий", "ДМИТРИЙ", "Дми")),
    ("Straße\u00a0nord", ("strasse", "STRASSE nord", "straße")),
    ("علی\u200cرضا", ("علیرضا", "علی\u200cرضا")),
    ("ǅenan Ⅷ ㎏", ("dženan", "DŽENAN", "viii", "kg")),
    ("ᏣᎳᎩ ꭰ", ("ᏣᎳᎩ", "ꮳꮃꭹ", "Ꭰ")),
    ("50% _off_ \\o/", ("50%", "_off_", "\\o/")),
]
PAIRS = [(name, typed) for name, forms in FOUND for typed in forms]
NOT_FOUND = [("Anna Weiß", "weis\u00dfs"), ("Zoë", "zoe"), ("Anna", "%"), ("Anna", "_nna"), ("İstanbul", "estanbul")]


@pytest.mark.parametrize(("name", "typed"), PAIRS, ids=ascii)
def test_the_folded_search_is_part_of_the_folded_name(name, typed):
    assert all(search_form(word) in search_form(name) for word in typed.split())


@pytest.mark.parametrize("name", [name for name, _ in FOUND], ids=ascii)
def test_search_form_is_idempotent(name):
    assert search_form(search_form(name)) == search_form(name)


def results(client, place, typed):
    """The results of a search as text."""
    if place == "/users/":
        return [row.name for row in client.get("/users/", {"q": typed}).context["page"].object_list]
    if place == "search":
        groups = client.get("/admin/search/", {"q": typed}).context["groups"]
        return [row.name for group in groups for row, _ in group["rows"]]
    if place == "autocomplete":
        query = {"app_label": "accounts", "model_name": "user", "field_name": "tier", "term": typed}
        return [row["text"] for row in client.get("/admin/autocomplete/", query).json()["results"]]
    section = next(section for section in SECTIONS if list_path(section) == f"/admin/{place}/")
    return [row.name for row in changelist(section, User.objects.get(username="sue"), {"q": typed}).result_list]


def make_rows_named(name, free):
    """A row of each searchable model with this name."""
    user = make_user("someone")
    User.objects.filter(pk=user.pk).update(name=name)
    make_key(user, name)
    make_limit(free, name=name)
    Tier.objects.create(name=name)
    Group.objects.create(name=name)


PLACES = (
    "/users/",
    "accounts/user",
    "tiers/tier",
    "ratelimits/ratelimit",
    "apikeys/apikey",
    "auth/group",
    "autocomplete",
    "search",
)


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "forms"), FOUND, ids=ascii)
def test_every_staff_search_finds_the_name(staff_client, free, name, forms):
    make_rows_named(name, free)
    for place in PLACES:
        for typed in forms:
            count = 4 if place == "search" else 1
            assert results(staff_client, place, typed) == [name] * count, f"{place}: {typed!a}"


@pytest.mark.django_db
@pytest.mark.parametrize(("name", "typed"), NOT_FOUND, ids=ascii)
def test_staff_searches_find_nothing_else(staff_client, free, name, typed):
    make_rows_named(name, free)
    for place in PLACES:
        assert results(staff_client, place, typed) == [], f"{place}: {typed!a}"


@pytest.mark.django_db
def test_usernames_addresses_and_descriptions_are_folded_too(staff_client, free):
    User.objects.create_user("ali_veli", "a@ışık.com", name="Ali")
    make_key(User.objects.get(username="ali_veli"), "k")
    Tier.objects.create(name="t", description="Für große Büros")
    for place in ("/users/", "accounts/user"):
        for typed in ("ALI_VELI", "ａｌｉ", "A@IŞIK.com".replace("I", "ı"), "ışık"):
            assert results(staff_client, place, typed) == ["Ali"]
    assert results(staff_client, "apikeys/apikey", "ＡＬＩ_veli") == ["k"]
    assert results(staff_client, "tiers/tier", "FÜR GROSSE büros") == ["t"]


@pytest.mark.django_db
class TestFoldedName:
    """The folded name is updated whenever the name is written."""

    def test_save(self, alice):
        alice.name = "Anna Weiß"
        alice.save()
        assert User.objects.get(name_folded="anna weiss") == alice
        alice.name = "Straße"
        alice.save(update_fields=["name"])
        alice.refresh_from_db()
        assert alice.name_folded == "strasse"

    def test_saving_a_deferred_instance(self, alice):
        partial = User.objects.only("name").get(pk=alice.pk)
        partial.name = "Groß"
        partial.save()
        alice.refresh_from_db()
        assert (alice.name, alice.name_folded, alice.username) == ("Groß", "gross", "alice")
        User.objects.defer("name").get(pk=alice.pk).save()
        alice.refresh_from_db()
        assert alice.name_folded == "gross"

    def test_update(self, alice, free):
        User.objects.filter(pk=alice.pk).update(name="Weiß")
        Tier.objects.filter(pk=free.pk).update(description="Groß")
        make_limit(free)
        RateLimit.objects.update(name="ﬁne")
        make_key(alice)
        APIKey.objects.update(name="Σ")
        for model, forms in ((User, "weiss"), (RateLimit, "fine"), (APIKey, "σ")):
            assert model.objects.get().name_folded == forms
        assert (Tier.objects.get().name_folded, Tier.objects.get().description_folded) == ("free", "gross")

    def test_update_with_an_expression_is_rejected(self, alice):
        with pytest.raises(TypeError, match="name as a string"):
            User.objects.update(name=Upper("username"))
        User.objects.update(name=Upper("username"), name_folded=models.F("username"))
        assert User.objects.get().name_folded == "alice"

    def test_bulk_create_and_bulk_update(self, free):
        User.objects.bulk_create([User(username=f"u{n}", email=f"u{n}@example.com", name="Weiß") for n in range(2)])
        assert set(User.objects.values_list("name_folded", flat=True)) == {"weiss"}
        users = list(User.objects.all())
        for user in users:
            user.name = "ﬁne"
        User.objects.bulk_update(users, ["name"])
        assert set(User.objects.values_list("name", "name_folded")) == {("ﬁne", "fine")}
        User.objects.bulk_update(users, ["is_active"])
        for user in users:
            user.name = "Groß"
        User.objects.bulk_create(users, update_conflicts=True, unique_fields=["id"], update_fields=["name"])
        assert set(User.objects.values_list("name", "name_folded")) == {("Groß", "gross")}

    def test_loaddata(self, free, tmp_path):
        Tier.objects.filter(pk=free.pk).update(name="Weiß")
        fixture = tmp_path / "tiers.json"
        call_command("dumpdata", "tiers.tier", output=str(fixture))
        assert "folded" not in fixture.read_text()
        Tier.objects.all().hard_delete()
        call_command("loaddata", str(fixture), verbosity=0)
        assert Tier.objects.get().name_folded == "weiss"

    def test_get_or_create_and_update_or_create(self, db):
        Tier.objects.get_or_create(name="Weiß")
        tier, _ = Tier.objects.update_or_create(name="Weiß", defaults={"description": "Groß"})
        tier.refresh_from_db()
        assert (tier.name_folded, tier.description_folded) == ("weiss", "gross")


@pytest.mark.django_db
def test_folded_names_are_not_shown(staff_client, alice, free):
    """History, exports and forms don't show the folded name, which repeats the name."""
    data = {"name": "Weiß", "username": "alice", "email": alice.email, "tier": free.pk, "is_active": "on"}
    staff_client.post(f"/admin/accounts/user/{alice.pk}/change/", data)
    alice.refresh_from_db()
    assert alice.name_folded == "weiss"
    assert not any("folded" in label for label in snapshot(alice))
    assert not any("folded" in entry.change_message for entry in LogEntry.objects.all())
    for place in ("accounts/user", "tiers/tier", "ratelimits/ratelimit", "apikeys/apikey"):
        assert b"folded" not in staff_client.get(f"/admin/{place}/export/").getvalue()
    assert "folded" not in staff_client.get(f"/admin/accounts/user/{alice.pk}/change/").content.decode()


@pytest.mark.django_db
def test_erasing_a_user_replaces_the_folded_name(sue, alice):
    User.objects.filter(pk=alice.pk).update(name="Anna Weiß")
    erase(User.objects.get(pk=alice.pk), Author(sue))
    assert User.objects.get(pk=alice.pk).name_folded == "erased user"
    assert results(signed_in(sue), "accounts/user", "weiss") == []


BEFORE = {
    "accounts": "0003_user_search_indexes",
    "apikeys": "0007_secret_last_used",
    "tiers": "0001_initial",
    "ratelimits": "0005_flat_hit",
}


@pytest.mark.django_db(transaction=True)
def test_the_migrations_fill_existing_rows_and_can_be_reversed(monkeypatch):
    monkeypatch.setattr("config.base.search.BATCH", 2)
    tier = Tier.objects.create(name="Groß", description="Für Büros")
    users = [make_user(f"u{number}", tier=tier) for number in range(5)]
    User.objects.update(name="Weiß")
    make_key(users[0], "Straße")
    make_limit(tier, name="ﬁne")
    call_command("migrate", "accounts", BEFORE["accounts"], verbosity=0)
    for app in ("apikeys", "ratelimits", "tiers"):
        call_command("migrate", app, BEFORE[app], verbosity=0)
    with connection.cursor() as cursor:
        columns = {column.name for column in connection.introspection.get_table_description(cursor, "user")}
    assert "name_folded" not in columns
    call_command("migrate", verbosity=0)
    assert list(User.objects.values_list("name_folded", flat=True)) == ["weiss"] * 5
    assert APIKey.objects.get().name_folded == "strasse"
    assert RateLimit.objects.get().name_folded == "fine"
    assert (Tier.objects.get().name_folded, Tier.objects.get().description_folded) == ("gross", "für büros")
    # Running it again continues an interrupted migration.
    User.objects.filter(pk=users[3].pk).update(name_folded="")
    executor = MigrationExecutor(connection)
    state = executor.loader.project_state([("accounts", "0005_fill_folded_names")]).apps
    fill = executor.loader.get_migration("accounts", "0005_fill_folded_names").operations[0]
    with connection.schema_editor(atomic=False) as editor:
        fill.code(state, editor)
    assert set(User.objects.values_list("name_folded", flat=True)) == {"weiss"}


@pytest.mark.django_db
@pytest.mark.postgresql
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no trigram indexes")
class TestIndex:
    @pytest.fixture(autouse=True)
    def _use_indexes(self, db):
        # With a few rows, a sequential scan is cheaper; this only tests whether the index can be used.
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_indexscan = off")

    def test_user_search_uses_the_trigram_indexes(self):
        plan = User.objects.order_by().filter(user_has("Weiß")).explain()
        for index in ("user_name_folded_trigrams", "user_username_trigrams", "user_email_trigrams"):
            assert index in plan

    @pytest.mark.parametrize(
        ("model", "index"),
        [(APIKey, "api_keys_name_folded"), (RateLimit, "rate_limits_name_folded"), (Tier, "tiers_name_folded")],
    )
    def test_other_searches_use_their_trigram_index(self, model, index):
        assert index in model.objects.order_by().filter(name_folded__has="Weiß").explain()


@pytest.fixture
def large_tables(alice):
    """Make SQLite's statistics say that tables are large."""
    make_key(alice)
    statements = ("ANALYZE", "UPDATE sqlite_stat1 SET stat = '1000000' || substr(stat, 2)", "ANALYZE sqlite_schema")
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        yield
        cursor.execute("DELETE FROM sqlite_stat1")
        cursor.execute("ANALYZE sqlite_schema")


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has trigram indexes")
@pytest.mark.usefixtures("db", "large_tables")
@pytest.mark.parametrize("word", ["nightly", "99"])
def test_sqlite_searches_key_names_in_their_index(word):
    named = APIKey.objects.live().order_by().filter(own_conditions(word)[0]).values_list("pk")
    assert "api_keys_live_names" in named.explain()


class FakeEditor:
    """A PostgreSQL schema editor that records statements, optionally without permission to create extensions."""

    connection = SimpleNamespace(vendor="postgresql", alias="default")

    def __init__(self, *, may_create_extensions=True):
        self.may_create_extensions, self.executed = may_create_extensions, []

    def execute(self, statement):
        if "EXTENSION" in statement and not self.may_create_extensions:
            raise DatabaseError("permission denied to create extension")
        self.executed.append(statement)


@pytest.mark.django_db
def test_trigram_indexes_replace_others_and_can_be_reversed():
    operation = trigram_indexes("user", {"new": "name_folded"}, replaced={"old": "UPPER(name)"})
    forwards, backwards = FakeEditor(), FakeEditor()
    operation.code(None, forwards)
    operation.reverse_code(None, backwards)
    made = 'CREATE INDEX IF NOT EXISTS {} ON "user" USING gin ({} gin_trgm_ops)'
    extension = "CREATE EXTENSION IF NOT EXISTS pg_trgm"
    assert forwards.executed == ["DROP INDEX IF EXISTS old", extension, made.format("new", "name_folded")]
    assert backwards.executed == ["DROP INDEX IF EXISTS new", extension, made.format("old", "UPPER(name)")]


@pytest.mark.django_db
def test_trigram_indexes_are_skipped_without_the_extension():
    editor = FakeEditor(may_create_extensions=False)
    trigram_indexes("user", {"new": "name_folded"}).code(None, editor)
    assert editor.executed == []
