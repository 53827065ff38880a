"""Importing keys from files: settings, permissions, and errors by line, after which nothing is imported."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.hashers import Argon2PasswordHasher, PBKDF2PasswordHasher, ScryptPasswordHasher
from django.core.management import CommandError, call_command
from django.utils import timezone

from apikeys.models import APIKey, ImportedKey, KeyFormat, KeyPermission
from apikeys.tools import key_import
from tests.apikeys.conftest import make_key
from tests.apikeys.importing import as_csv, hash_row, starter_hash, starter_row, starter_secret

DIGEST = hash_row()["hash"]
NOT_DJANGOS = "hash: This isn't a hash as Django's make_password writes it for "
TOMORROW = (timezone.now() + timedelta(days=1)).isoformat()


def permissions_of(key):
    return sorted(map(str, key.permissions.all()))


def test_key_is_imported_with_all_its_settings(import_keys, alice):
    row = hash_row(
        expires_at=TOMORROW, is_active="f", rate_limit="7", rate_period="60", allowed_ips="192.0.2.7, 2001:db8::/32",
        metadata='{"team": "billing"}', created_at="2024-01-02T03:04:05Z", last_used_at="2025-01-02 03:04:05+00",
        last_used_ip="192.0.2.7", permissions="read /orders/*; create orders", id="12",
    )  # fmt: skip
    assert "Imported 1 key of 1 user." in import_keys(as_csv(row))
    key = APIKey.objects.get()
    assert (key.user, key.name, key.prefix, key.last4, key.is_active) == (alice, "old key", "acme_live_", "", False)
    assert key.expires_at.isoformat() == TOMORROW
    assert (key.rate_limit, key.rate_period, key.metadata) == (7, 60, {"team": "billing"})
    assert key.allowed_ips == ["192.0.2.7", "2001:db8::/32"]
    assert (key.last_used_ip, key.last_used_at.year, key.created_at.year) == ("192.0.2.7", 2025, 2024)
    assert permissions_of(key) == ["create orders", "read /orders/*"]
    entry = LogEntry.objects.get()
    assert (entry.user, entry.object_id) == (alice, str(key.pk))
    assert "manage.py import_keys" in entry.change_message
    assert "create orders, read /orders/*" in entry.change_message
    assert DIGEST not in entry.change_message
    assert DIGEST not in str(APIKey.objects.values().get())
    assert (str(ImportedKey.objects.get()), str(KeyFormat.objects.get())) == (str(key), r"acme_live_[!-+\--~]+")


def test_file_without_permissions_allows_everything(import_keys):
    import_keys(as_csv(hash_row()))
    assert permissions_of(APIKey.objects.get()) == ["* *"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ({"permissions": ""}, []),
        ({"permissions": "null"}, []),
        ({"permissions": '["user.read", "tier.list"]'}, ["read tier", "read user"]),
        ({"permissions": '["read /orders"]'}, ["read /orders"]),
        ({"permissions": '{"analytics": ["read", "list"], "billing": "*"}'}, ["* billing", "read analytics"]),
        ({"permissions": "read /a at *.Example.com."}, ["read /a at *.example.com"]),
        ({"resource": "orders", "action": "read", "host": "bücher.example"}, ["read orders at xn--bcher-kva.example"]),
        ({"resource": "orders", "action": "write"}, ["create orders", "update orders"]),
        ({"resource": "WILDCARD", "action": "READ"}, ["read *"]),
        ({"resource": "orders", "action": "read", "is_allowed": "false"}, []),
        ({"resource": "api_v1_users", "action": "read"}, ["read /api/v1/users"]),
        ({"resource": "", "action": ""}, []),
        ({"resource": "orders", "action": "read", "conditions": "{}"}, ["read orders"]),
    ],
)
def test_permissions_are_converted(import_keys, cells, expected):
    assert "Imported 1 key" in import_keys(as_csv(hash_row(**cells)))
    assert permissions_of(APIKey.objects.get()) == expected


def test_converted_paths_are_reported(import_keys):
    output = import_keys(as_csv(hash_row(permissions="read api_v1_users")), dry_run=True)
    assert "api_v1_users is read as the path /api/v1/users." in output


def test_key_can_have_a_line_for_each_permission(import_keys):
    lines = [hash_row(resource=name, action="read") for name in ("orders", "invoices")]
    assert "Imported 1 key" in import_keys(as_csv(*lines))
    assert permissions_of(APIKey.objects.get()) == ["read invoices", "read orders"]


@pytest.mark.parametrize(
    ("denied", "narrows"),
    [
        ({"resource": "orders", "action": "read"}, True),
        ({"resource": "orders", "action": "list"}, True),
        ({"resource": "*", "action": "read", "host": "*.example.com"}, False),
        ({"resource": "orders", "action": "*", "host": "*.example.com"}, False),
        ({"resource": "orders", "action": "read", "host": "*.example.com"}, True),
        ({"resource": "orders", "action": "read", "host": "api.example.com"}, True),
        ({"resource": "orders", "action": "read", "host": "b.example.com"}, False),
        ({"resource": "orders", "action": "delete"}, False),
        ({"resource": "invoices", "action": "read"}, False),
        ({"resource": "orders", "action": "fly"}, True),
    ],
)
def test_denial_cannot_narrow_what_another_line_allows(import_keys, denied, narrows):
    allowing = [{"resource": "orders", "action": "read", "host": "a.example.com"}]
    if denied.get("host") != "b.example.com":
        allowing.append({"resource": "orders", "action": "read", "host": "api.example.com"})
    denying = {"host": "", **denied, "is_allowed": "no"}
    rows = [hash_row(**cells) for cells in (*({**cells, "is_allowed": "yes"} for cells in allowing), denying)]
    output = import_keys(as_csv(*rows))
    assert ("denies a part of it" in output) is narrows
    assert APIKey.objects.exists() is not narrows


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_byte_order_marks_and_line_ends_do_not_matter(import_keys, start, end):
    content = as_csv(hash_row()).replace(b"\r\n", end)
    assert "Imported 1 key" in import_keys(start + content + end)


def test_utf_16_file_is_read(import_keys):
    assert "Imported 1 key of 1 user." in import_keys(as_csv(hash_row()).decode().encode("utf-16"))


def test_dry_run_changes_nothing(import_keys):
    assert "1 key of 1 user can be imported. Nothing was changed." in import_keys(as_csv(hash_row()), dry_run=True)
    assert not APIKey.objects.exists()
    assert not KeyFormat.objects.exists()


INVALID_CELLS = [
    ({"username": ""}, "username: This cell is empty."),
    ({"username": "nobody"}, "username: There is no user with the username “nobody”."),
    ({"name": ""}, "name: This cell is empty."),
    ({"name": "x" * 101}, "name: Use at most 100 characters. This has 101."),
    ({"name": "a\u202eb"}, "name: Remove the control or invisible character"),
    ({"algorithm": "md5"}, "algorithm: “md5” isn't supported. Use sha256"),
    ({"hash": DIGEST[:-1]}, "hash: A sha256 hash has 64 hexadecimal digits."),
    ({"hash": "x" * 300}, "hash: This hash is too long"),
    ({"algorithm": "sha512"}, "hash: A sha512 hash has 128 hexadecimal digits."),
    ({"hash": f"sha512$${DIGEST}"}, "hash: A sha256 hash"),
    ({"hash": f"sha256$${DIGEST}", "prefix": "a b"}, "prefix: Use at most 40 letters"),
    ({"hash": f"sha256$${DIGEST}", "prefix": "a!b"}, "prefix: The prefix is the part of the key before the period."),
    ({"prefix": "x" * 41}, "prefix: Use at most 40"),
    ({"prefix": "a,b"}, "prefix: Use at most 40"),
    ({"expires_at": "2020-01-01"}, "expires_at: Choose an expiry in the future"),
    ({"expires_at": "2100-01-01T00:00"}, "expires_at: Add the offset from UTC"),
    ({"expires_at": "soon"}, "expires_at: Enter a day"),
    ({"is_active": "maybe"}, "is_active: Enter true or false."),
    ({"rate_limit": "7"}, "rate_period: Enter both a rate limit and its period"),
    ({"rate_limit": "-1", "rate_period": "60"}, "rate_limit: Enter a whole number from 1"),
    ({"rate_limit": str(2**63), "rate_period": "60"}, "rate_limit: Enter a whole number from 1 to 2,147,483,647."),
    ({"rate_limit": "7", "rate_period": "9999999"}, "rate_period: Enter a period from 1 second to 31 days"),
    ({"rate_limit": "7", "rate_period": "60", "rate_window": "total"}, "rate_window: “total” isn't a valid window. Enter one of rolling,"),
    ({"rate_limit": "7", "rate_period": "60", "rate_window": "decade"}, "rate_window: “decade” isn't a valid window. Enter one of rolling"),
    ({"usage_limits": '{"tokens": 5}'}, "usage_limits: Only one limit such as"),
    ({"usage_limits": '{"requests_per_day": 1, "requests_per_hour": 1}'}, "usage_limits: Only one limit such as"),
    ({"usage_limits": '{"requests_per_day": "many"}'}, "usage_limits: Only one limit such as"),
    ({"allowed_ips": "192.0.2.300"}, "allowed_ips: “192.0.2.300” isn't an IP address or network."),
    ({"last_used_ip": "here"}, "last_used_ip: Enter a valid IPv4 or IPv6 address."),
    ({"metadata": "[1]"}, "metadata: The metadata must be a JSON object"),
    ({"metadata": "{"}, "metadata: Enter JSON"),
    ({"permissions": "read"}, "permissions: “read” isn't an action and a resource"),
    ({"permissions": '["read"]'}, "permissions: “read” isn't a permission, for example user.read."),
    ({"permissions": '{"orders": true}'}, "action: “true” isn't an action."),
    ({"permissions": "fly /orders"}, "action: “fly” isn't an action. Use one of read, list"),
    ({"permissions": "read /orders*"}, "resource: "),
    ({"permissions": ";".join(f"read r{n}" for n in range(201))}, "permissions: A key can have at most 200 permissions."),
    ({"resource": "orders", "action": ""}, "action: “” isn't an action."),
    ({"permissions": "read /a at api.example.com:8080"}, "host: Remove the port."),
    ({"permissions": "read /a at https://api.example.com"}, "host: Remove the scheme"),
    ({"permissions": "read /a at api.example.com/v1"}, "host: Remove the path."),
    ({"permissions": "read /a at api.*.example.com"}, "host: Use * only as the first label"),
    ({"conditions": '{"a": 1}'}, "conditions: Permissions with conditions can't be imported."),
    ({"algorithm": "scrypt", "hash": starter_hash("x"), "prefix": "short"}, "prefix: Enter the key's key_prefix"),
    ({"algorithm": "scrypt", "hash": "scrypt$16$8$1$?$?", "prefix": "abcdefgh"}, "hash: This isn't a scrypt hash"),
    ({"algorithm": "scrypt", "hash": "scrypt$15$8$1$YWI=$YWI=", "prefix": "abcdefgh"}, "hash: This isn't a scrypt hash"),
    ({"algorithm": "scrypt", "hash": "scrypt$1048576$8$1$YWI=$YWI=", "prefix": "abcdefgh"}, "hash: This hash takes too"),
    ({"algorithm": "scrypt", "hash": "scrypt$1048576$ab$8$1$YWI=", "prefix": "abcdefgh"}, "hash: This hash takes too"),
    ({"algorithm": "pbkdf2_sha256", "hash": "pbkdf2_sha256$5$ab$YWI=", "prefix": ""}, "prefix: A key with a pbkdf2_sha256"),
    ({"algorithm": "pbkdf2_sha256", "hash": "pbkdf2_sha256$x$ab$YWI="}, f"{NOT_DJANGOS}pbkdf2_sha256"),
    ({"algorithm": "pbkdf2_sha256", "hash": "pbkdf2_sha256$5$ab$?"}, f"{NOT_DJANGOS}pbkdf2_sha256"),
    ({"algorithm": "pbkdf2_sha256", "hash": "pbkdf2_sha1$5$ab$YWI="}, f"{NOT_DJANGOS}pbkdf2_sha256"),
    ({"algorithm": "pbkdf2_sha256", "hash": "pbkdf2_sha256$99999999$ab$YWI="}, "hash: This hash takes too long"),
    ({"algorithm": "argon2", "hash": "argon2$argon2id$v=19$m=9$x"}, f"{NOT_DJANGOS}argon2"),
    (
        {"algorithm": "argon2", "hash": "argon2$argon2id$v=19$m=9999999,t=1,p=1$YWJjZGVmZ2g$YWJjZGVmZ2g"},
        "hash: This hash takes too long",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "output"), INVALID_CELLS, ids=[output[:40] for _, output in INVALID_CELLS])
def test_invalid_cell_is_reported_and_nothing_is_imported(import_keys, cells, output):
    content = as_csv(hash_row(), hash_row("acme_live_other") | cells)
    for dry_run in (True, False):
        assert f"Line 3, {output}" in import_keys(content, dry_run=dry_run)
    assert not APIKey.objects.exists()


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (b"", "The file is empty."),
        (b"\n\n", "The file is empty."),
        (b"username,name,algorithm\n", "Line 1: the column hash is missing."),
        (
            b"username,name,algorithm,hash,scopes\n",
            "Line 1: “scopes” isn't a column. The columns are action, algorithm",
        ),
        (b"username,name,algorithm,hash,key_hash\n", "Line 1: there are two columns named hash."),
        (b"username;name;algorithm;hash\n", "Line 1: separate the columns with commas, not semicolons."),
        (b"\xff\xfea", "Line 1: the file isn't in UTF-8."),
        (b"username,name\nalic\xe9,a\n", "Line 2: the file isn't in UTF-8."),
        (b"username,name\nali\0ce,a\n", "Line 2: remove the NUL character."),
        (b'username,name,algorithm,hash\n"a"b,c\n', "Line 2: this isn't valid CSV"),
        (b"username,name,algorithm,hash\n" + b"a" * 200_000, "Line 2: this isn't valid CSV (field larger"),
    ],
)
def test_unreadable_file_is_reported(import_keys, content, output):
    assert output in import_keys(content)


def test_line_with_wrong_number_of_cells_is_reported(import_keys):
    content = as_csv(hash_row()) + b"alice,x\r\n" + b'"a\nb",x\r\n' + b"a,b,c,d,e,f\r\n"
    output = import_keys(content)
    assert "Line 3: The header has 5 columns, and this line has 2 cells." in output
    assert "Line 4: The header has 5 columns" in output
    assert "Line 6: The header has 5 columns, and this line has 6 cells." in output
    assert "3 problems found. Nothing was imported." in output


def test_duplicate_keys_are_reported(import_keys):
    one = hash_row(resource="orders", action="read")
    renamed, repeated = one | {"name": "another", "action": "create"}, one | {"hash": one["hash"].upper()}
    output = import_keys(as_csv(one, renamed, one, repeated))
    for line in (3, 4, 5):
        assert f"Line {line}, hash: Line 2 has the same hash." in output


def test_keys_with_slow_hashes_need_different_prefixes(import_keys):
    secret = starter_secret()
    output = import_keys(as_csv(starter_row(secret), starter_row(secret)))
    assert "Line 3, prefix: Line 2 has the same prefix." in output


def test_key_is_not_imported_again_after_use(import_keys, verify, settings):
    secret = starter_secret()
    content = as_csv(hash_row(), starter_row(secret))
    import_keys(content)
    assert verify(key=secret, action="read", resource="a")["allowed"]
    settings.API_KEY_PEPPERS = ["a newer one", *settings.API_KEY_PEPPERS]
    output = import_keys(content)
    assert "Line 2, hash: This key has already been imported." in output
    assert "Line 3, hash: This key has already been imported." in output
    assert "Line 2, prefix: An imported key already has this prefix." in import_keys(as_csv(starter_row(secret)))
    assert APIKey.objects.count() == 2


def test_keys_cannot_be_imported_for_deleted_users(import_keys, alice):
    alice.delete()
    assert "Line 2, username: There is no user" in import_keys(as_csv(hash_row()))


def test_concurrent_import_of_the_same_key_fails(import_keys, monkeypatch):
    import_keys(as_csv(hash_row()))
    monkeypatch.setattr(key_import, "refuse_imported", lambda plan, drafts: None)
    output = import_keys(as_csv(hash_row("acme_live_new"), hash_row()))
    assert "Another import has just added one of these keys. Nothing was imported." in output
    assert (APIKey.objects.count(), ImportedKey.objects.count()) == (1, 1)


def test_many_lines_need_few_queries(import_keys, django_assert_max_num_queries, monkeypatch):
    monkeypatch.setattr(key_import, "PROGRESS_EVERY", 1000)
    rows = [hash_row(f"acme_live_{number:06}") for number in range(1200)]
    with django_assert_max_num_queries(80):
        assert import_keys(as_csv(*rows)) == "1,000 lines read.\nImported 1,200 keys of 1 user.\n"
    assert KeyPermission.objects.count() == 1200


def test_each_of_100_000_invalid_lines_is_reported(import_keys):
    line = b"alice,a key,md5,abc\n"
    output = import_keys(b"username,name,algorithm,hash\n" + line * 100_000)
    assert output.count("algorithm: “md5” isn't supported.") == 100_000
    assert "Line 100001, algorithm" in output
    assert "100,000 problems found. Nothing was imported." in output
    assert not APIKey.objects.exists()


def test_file_can_be_standard_input(alice, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(as_csv(hash_row()))))
    call_command("import_keys", "-")
    assert "Imported 1 key of 1 user." in capsys.readouterr().out


def test_large_file_is_rejected_before_it_is_read_completely(alice, monkeypatch):
    monkeypatch.setattr("apikeys.management.commands.import_keys.MAX_FILE_SIZE", 2**20)
    standard_input = io.BytesIO(b"#" * 2**22)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(standard_input))
    with pytest.raises(CommandError, match=r"- is too large\. A file can have up to 1 MB\."):
        call_command("import_keys", "-")
    assert standard_input.tell() == 2**20 + 1


def test_missing_file_is_reported(db, tmp_path):
    with pytest.raises(CommandError, match=r"Couldn't read .*: No such file"):
        call_command("import_keys", str(tmp_path / "none.csv"))


@pytest.mark.parametrize("hasher", [PBKDF2PasswordHasher, Argon2PasswordHasher, ScryptPasswordHasher])
def test_hashes_of_make_password_are_accepted(import_keys, verify, hasher, monkeypatch):
    for name, value in {"iterations": 10, "work_factor": 16, "memory_cost": 64, "time_cost": 1}.items():
        monkeypatch.setattr(hasher, name, value, raising=False)
    secret = "abcdefgh.ABCDEFGHIJKLMNOPQRSTUVWXYZ123456"
    row = hash_row(prefix="abcdefgh") | {"algorithm": hasher.algorithm, "hash": hasher().encode(secret, "saltsaltsalt")}
    assert "Imported 1 key" in import_keys(as_csv(row))
    assert verify(key=f"{secret}x", action="read", resource="a")["reason"] == "unknown_key"
    assert verify(key=secret, action="read", resource="a")["allowed"]


@pytest.mark.parametrize(
    ("limits", "expected"), [("{}", (None, None)), ("null", (None, None)), ({"requests_per_minute": 9}, (9, 60))]
)
def test_usage_limits_of_the_starter_are_imported(import_keys, limits, expected):
    text = limits if isinstance(limits, str) else json.dumps(limits)
    import_keys(as_csv(hash_row(usage_limits=text)))
    key = APIKey.objects.get()
    assert (key.rate_limit, key.rate_period) == expected


def test_key_policy_applies_to_imported_keys(import_keys, free, alice):
    free.max_keys, free.max_key_days = 2, 30
    free.save()
    make_key(alice)
    rows = [
        hash_row("acme_1", revoked="yes", expires_at=TOMORROW),
        hash_row("acme_2", expires_at=TOMORROW),
        hash_row("acme_3"),
        hash_row("acme_4", expires_at=TOMORROW),
    ]
    output = import_keys(as_csv(*rows))
    assert "Line 4, expires_at: Keys on the tier “free” must expire within 30 days." in output
    assert "Line 4, username: The tier “free” allows 2 keys per user. alice would have more." in output
    assert "Line 5, username: " in output
    assert "3 problems found." in output
    assert "Imported 2 keys" in import_keys(as_csv(*rows[:2]))


def test_policy_counts_keys_created_during_the_import(import_keys, free, alice, monkeypatch):
    free.max_keys = 1
    free.save()
    original = key_import.lock_owners

    def lock_owners(keys):
        original(keys)
        make_key(alice)

    monkeypatch.setattr(key_import, "lock_owners", lock_owners)
    assert "Line 2, username: The tier “free” allows 1 key per user." in import_keys(as_csv(hash_row()))
    assert not APIKey.objects.filter(name="old key").exists()


def test_imported_key_can_have_a_window(import_keys):
    assert "Imported 1 key" in import_keys(as_csv(hash_row(rate_limit="9", rate_window="Week")))
    key = APIKey.objects.get()
    assert (key.rate_limit, key.rate_period, key.rate_window) == (9, 604_800, "week")
