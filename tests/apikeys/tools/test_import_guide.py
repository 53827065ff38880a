"""Import keys from databases of other products, exported with the guide's queries. Keys work with their old secrets."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from rest_framework_api_key.crypto import KeyGenerator

from apikeys.models import APIKey, ImportedKey
from apikeys.secrets import hash_secret
from tests.apikeys.importing import as_exported_csv, guide_queries, starter_hash, starter_secret
from tests.conftest import make_user

OLD_PACKAGE, STARTER_WITH_ROWS, STARTER_WITH_NAMES = guide_queries()
FUTURE = "2100-01-01 00:00:00+00:00"
PACKAGE_SCHEMA = """
CREATE TABLE rest_framework_api_key_apikey (
    id varchar(150) NOT NULL PRIMARY KEY, prefix varchar(8) NOT NULL UNIQUE, hashed_key varchar(150) NOT NULL,
    created datetime NOT NULL, name varchar(50) NOT NULL, revoked bool NOT NULL, expiry_date datetime NULL
)
"""
STARTER_SCHEMA = """
CREATE TABLE "user" (
    id INTEGER PRIMARY KEY, name VARCHAR(30) NOT NULL, username VARCHAR(32) NOT NULL UNIQUE,
    email VARCHAR(50) NOT NULL UNIQUE, hashed_password VARCHAR(100) NOT NULL, is_deleted BOOLEAN NOT NULL
);
CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES "user" (id), name VARCHAR(100) NOT NULL,
    key_hash VARCHAR(255) NOT NULL UNIQUE, key_prefix VARCHAR(20) NOT NULL, permissions JSON NOT NULL,
    usage_limits JSON NOT NULL, last_used_at DATETIME, last_used_ip VARCHAR(45), is_active BOOLEAN NOT NULL,
    expires_at DATETIME, key_metadata JSON, created_at DATETIME NOT NULL, updated_at DATETIME
);
CREATE TABLE key_permissions (
    id INTEGER PRIMARY KEY, api_key_id INTEGER NOT NULL REFERENCES api_keys (id), resource VARCHAR(13) NOT NULL,
    action VARCHAR(8) NOT NULL, conditions JSON, is_allowed BOOLEAN NOT NULL, UNIQUE (api_key_id, resource, action)
);
CREATE TABLE roles (id INTEGER PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE);
CREATE TABLE user_roles (user_id INTEGER NOT NULL, role_id INTEGER NOT NULL, PRIMARY KEY (user_id, role_id));
"""


class StringAgg:
    """PostgreSQL's string_agg for SQLite."""

    def __init__(self):
        self.parts = []

    def step(self, part, separator):
        self.parts.append(part)
        self.separator = separator

    def finalize(self):
        return self.separator.join(self.parts) if self.parts else None


@pytest.fixture
def package(tmp_path):
    database = sqlite3.connect(tmp_path / "package.sqlite3")
    database.execute(PACKAGE_SCHEMA)
    return database


@pytest.fixture
def starter(tmp_path):
    database = sqlite3.connect(tmp_path / "starter.sqlite3")
    database.create_aggregate("string_agg", 2, StringAgg)
    database.executescript(STARTER_SCHEMA)
    for number, (name, is_deleted) in enumerate([("alice", False), ("bob", False), ("gone", True)], start=1):
        row = (number, name, name, f"{name}@example.com", "x", is_deleted)
        database.execute('INSERT INTO "user" VALUES (?, ?, ?, ?, ?, ?)', row)
    return database


def add_package_key(database, name, *, hasher=None, revoked=False, expires=None):
    secret, prefix, hashed = KeyGenerator().generate()
    hashed = hasher.encode(secret, "abcdefgh", iterations=10) if hasher else hashed
    row = (f"{prefix}.{hashed}", prefix, hashed, "2024-05-06 07:08:09Z", name, revoked, expires)
    database.execute("INSERT INTO rest_framework_api_key_apikey VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    return secret


def add_starter_key(database, user=1, *, name="a key", permissions=(), rows=(), **more):
    secret = starter_secret()
    values = {
        "user_id": user,
        "name": name,
        "key_hash": starter_hash(secret),
        "key_prefix": secret[4:12],
        "permissions": json.dumps(permissions),
        "usage_limits": "{}",
        "is_active": True,
        "created_at": "2025-06-07 08:09:10.123456+00:00",
        **more,
    }
    columns, marks = ", ".join(values), ", ".join("?" * len(values))
    key = database.execute(f"INSERT INTO api_keys ({columns}) VALUES ({marks})", list(values.values())).lastrowid
    for resource, action, is_allowed in rows:
        row = (key, resource, action, is_allowed)
        database.execute(
            "INSERT INTO key_permissions (api_key_id, resource, action, is_allowed) VALUES (?, ?, ?, ?)", row
        )
    return secret


def ask(verify, secret, action="read", resource="orders"):
    verdict = verify(key=secret, action=action, resource=resource)
    return verdict["reason"] or "allowed"


def test_import_from_djangorestframework_api_key(package, import_keys, verify):
    make_user("partners")
    new = add_package_key(package, "new", expires="2100-01-01 00:00:00Z")
    old = add_package_key(package, "old", hasher=PBKDF2PasswordHasher())
    revoked = add_package_key(package, "revoked", revoked=True)
    add_package_key(package, "expired", expires="2020-01-01 00:00:00Z")
    assert "Imported 3 keys of 1 user." in import_keys(as_exported_csv(package, OLD_PACKAGE))
    assert [ask(verify, secret) for secret in (new, old, revoked)] == ["allowed", "allowed", "revoked_key"]
    assert ask(verify, new[:-1] + ("a" if new[-1] != "a" else "b")) == "unknown_key"
    key = APIKey.objects.get(name="new")
    assert (key.secret_hash, key.last4, str(key.expires_at)) == (
        hash_secret(new),
        new[-4:],
        "2100-01-01 00:00:00+00:00",
    )
    assert str(key.created_at) == "2024-05-06 07:08:09+00:00"
    assert APIKey.objects.get(name="old").secret_hash == hash_secret(old)
    assert not ImportedKey.objects.exclude(encoded="").exists()


def test_import_from_the_starter_with_permission_rows(starter, import_keys, verify, bob):
    rows = [("USER_PROFILE", "READ", True), ("BILLING", "WRITE", True), ("BILLING", "DELETE", False)]
    narrow = add_starter_key(starter, rows=rows, usage_limits='{"requests_per_hour": 50}', key_metadata='{"a": 1}')
    full = add_starter_key(starter, user=2, rows=[("WILDCARD", "WILDCARD", True)], expires_at=FUTURE)
    off = add_starter_key(starter, rows=[("WILDCARD", "READ", True)], is_active=False)
    bare = add_starter_key(starter)
    add_starter_key(starter, user=3)
    add_starter_key(starter, expires_at="2020-01-01 00:00:00+00:00")
    output = import_keys(as_exported_csv(starter, STARTER_WITH_ROWS))
    assert "Imported 4 keys of 2 users." in output
    assert "1 key without permissions" in output
    assert ask(verify, narrow, "read", "user_profile") == "allowed"
    assert [ask(verify, narrow, action, "billing") for action in ("create", "update")] == ["allowed", "allowed"]
    assert [ask(verify, narrow, action, "billing") for action in ("read", "delete")] == ["permission_denied"] * 2
    assert [ask(verify, secret) for secret in (full, off, bare)] == ["allowed", "disabled_key", "permission_denied"]
    key = APIKey.objects.get(prefix=narrow[:12])
    assert (key.rate_limit, key.rate_period, key.metadata) == (50, 3600, {"a": 1})
    assert (key.shown_as, str(key.created_at)) == (f"{narrow[:12]}…{narrow[-4:]}", "2025-06-07 08:09:10.123456+00:00")


def test_import_from_the_starter_with_permission_names(starter, import_keys, verify):
    starter.execute("INSERT INTO roles VALUES (1, 'support'), (2, 'billing')")
    starter.execute("INSERT INTO user_roles VALUES (1, 1), (1, 2)")
    secret = add_starter_key(starter, permissions=["user.read", "tier.update"])
    output = import_keys(as_exported_csv(starter, STARTER_WITH_NAMES))
    assert "The role “support” of 1 key isn't imported." in output
    assert "The role “billing” of 1 key isn't imported." in output
    assert [ask(verify, secret, "read", "user"), ask(verify, secret, "update", "tier")] == ["allowed", "allowed"]
    assert ask(verify, secret, "update", "user") == "permission_denied"


def test_denial_that_narrows_a_permission_is_rejected(starter, import_keys):
    add_starter_key(starter, rows=[("WILDCARD", "WILDCARD", True), ("BILLING", "READ", False)])
    output = import_keys(as_exported_csv(starter, STARTER_WITH_ROWS))
    assert re.search(r"Line [23], is_allowed: Line [23] allows “\* \*”, and this line denies a part of it\.", output)
    assert not APIKey.objects.exists()


def test_denial_overridden_by_a_more_specific_permission_is_accepted(starter, import_keys, verify):
    secret = add_starter_key(starter, rows=[("BILLING", "READ", True), ("WILDCARD", "READ", False)])
    assert "Imported 1 key" in import_keys(as_exported_csv(starter, STARTER_WITH_ROWS))
    assert [ask(verify, secret, "read", name) for name in ("billing", "orders")] == ["allowed", "permission_denied"]


def test_random_starter_secrets_have_an_accepted_format(starter, import_keys, verify):
    secrets_given = [add_starter_key(starter, rows=[("WILDCARD", "WILDCARD", True)]) for _ in range(20)]
    import_keys(as_exported_csv(starter, STARTER_WITH_ROWS))
    assert {ask(verify, secret) for secret in secrets_given} == {"allowed"}
    assert ask(verify, f"fai_{secrets.token_urlsafe(6)}") == "malformed_key"
