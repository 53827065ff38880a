"""Imported keys work with their old secret everywhere, and their hash is replaced by one of ours on first use."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import OperationalError
from django.utils import timezone

from apikeys.decision import imported
from apikeys.decision.checks import Facts
from apikeys.decision.credentials import read_credential
from apikeys.decision.decide import decide, decide_many
from apikeys.gateway import batches
from apikeys.models import APIKey, ImportedKey, KeyFormat
from apikeys.secrets import foreign, hash_secret, newest_pepper_id
from apikeys.services import rotate_key
from config.base.history import Author
from tests.apikeys.conftest import ask_as
from tests.apikeys.gateway.asgi import ask_asgi
from tests.apikeys.gateway.servers import call, gatehouse
from tests.apikeys.importing import PLAIN, as_csv, hash_row, starter_row, starter_secret
from tests.parallel import in_parallel
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

PACKAGE_SECRET = "abcdefgh.ABCDEFGHIJKLMNOPQRSTUVWXYZ123456"


def package_row(secret):
    digest = hashlib.sha512(secret.encode()).hexdigest()
    return hash_row(algorithm="sha512", prefix="abcdefgh") | {"hash": f"sha512$${digest}"}


KINDS = {
    "plain SHA-256": lambda: (PLAIN, hash_row()),
    "plain SHA-512": lambda: (PLAIN, hash_row(algorithm="sha512")),
    "without a prefix": lambda: ("s3cret", hash_row("s3cret", prefix="")),
    "djangorestframework-api-key": lambda: (PACKAGE_SECRET, package_row(PACKAGE_SECRET)),
    "starter": lambda: (secret := starter_secret(), starter_row(secret)),
    "starter with another prefix": lambda: (
        secret := starter_secret().replace("fai_", "acme_", 1),
        starter_row(secret) | {"prefix": secret[:13]},
    ),
}
WAYS = ["nginx", "traefik", "caddy", "envoy", "verify", "decorator", "decide", "batch", "loop"]


@pytest.fixture(params=KINDS)
def secret(request, import_keys):
    """The secret of a key that was just imported."""
    secret, row = KINDS[request.param]()
    assert "Imported 1 key" in import_keys(as_csv(row))
    return secret


@pytest.fixture
def slow_secret(import_keys):
    """The secret of an imported key whose hash is slow to check."""
    secret = starter_secret()
    import_keys(as_csv(starter_row(secret)))
    return secret


def facts(secret):
    return Facts(read_credential("", secret), "GET", "/orders", "203.0.113.9")


def reasons(secrets_given):
    return [verdict.reason for verdict in decide_many([facts(secret) for secret in secrets_given])]


def ask_event_loop(secret):
    headers = [("X-API-Key", secret), ("X-Original-Method", "GET"), ("X-Original-URI", "/orders")]
    return ask_asgi("/authz/nginx", headers)


def is_allowed(way, client, secret):
    if way == "verify":
        body = json.dumps({"key": secret, "method": "GET", "path": "/orders"})
        return client.post("/authz/verify", body, content_type="application/json").json()["allowed"]
    if way == "decorator":
        return client.get("/api/v1/whoami", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
    if way in {"decide", "batch"}:
        verdicts = [decide(facts(secret))] if way == "decide" else decide_many([facts(secret)] * 3)
        return all(verdict.allowed for verdict in verdicts)
    if way == "loop":
        return ask_event_loop(secret)[0] == "200 OK"
    key = type("Key", (), {"secret": secret})
    return ask_as(client, way, key).status_code == 200


def has_our_hash(secret):
    key = APIKey.objects.get()
    return (key.secret_hash, key.pepper_id, key.last4) == (hash_secret(secret), newest_pepper_id(), secret[-4:])


@pytest.mark.parametrize("way", WAYS)
def test_imported_key_works_everywhere_and_is_rehashed(secret, way, client):
    assert not has_our_hash(secret)
    updated_at = APIKey.objects.get().updated_at
    assert is_allowed(way, client, secret)
    assert has_our_hash(secret)
    assert APIKey.objects.get().updated_at == updated_at
    assert ImportedKey.objects.get().encoded == ""
    assert is_allowed(way, client, secret)
    assert not is_allowed(way, client, secret[:-1] + ("x" if secret[-1] != "x" else "y"))


def test_imported_key_works_after_a_pepper_change(secret, settings):
    settings.API_KEY_PEPPERS = ["a newer one", *settings.API_KEY_PEPPERS]
    assert reasons([secret]) == [""]
    assert has_our_hash(secret)


def test_imported_hash_is_not_accepted_as_a_secret(import_keys):
    row = hash_row("s3cret", prefix="")
    import_keys(as_csv(row))
    forged = [row["hash"], f"sha256:{row['hash']}", f"sha256$${row['hash']}", f"imported{row['hash']}"]
    assert reasons(forged) == ["unknown_key"] * 4
    assert reasons([foreign.marked("sha256", row["hash"])]) == ["malformed_key"]


def test_secrets_of_other_formats_are_not_looked_up(import_keys, django_assert_num_queries):
    others = ["s3cret", "acme_test_1234", "abcdefgh.", "abcdefg.ABCDEF", "fai_abc_def", "gate_x", f"{PLAIN},{PLAIN}"]
    with django_assert_num_queries(0):
        assert reasons([PLAIN, PACKAGE_SECRET, starter_secret(), *others]) == ["malformed_key"] * 10
    import_keys(as_csv(hash_row(), package_row(PACKAGE_SECRET), starter_row(starter_secret())))
    with django_assert_num_queries(0):
        assert reasons(others) == ["malformed_key"] * 7
    assert reasons(["acme_live_another", f"{PACKAGE_SECRET}x", starter_secret()]) == ["unknown_key"] * 3


def test_many_different_prefixes_accept_any_secret(import_keys):
    import_keys(as_csv(*[hash_row(f"{number:06}", prefix=f"{number:06}") for number in range(101)]))
    assert set(KeyFormat.objects.values_list("algorithm", "pattern")) == {("sha256", r"[!-+\--~]+")}


# --- Slow hashes -----------------------------------------------------------------------------------------------------


def test_wrong_secret_is_checked_once(slow_secret, monkeypatch):
    imported._wrong.clear()
    checked = []
    original = imported.verifies
    monkeypatch.setattr(imported, "verifies", lambda *pair: checked.append(pair) or original(*pair))
    assert reasons([f"{slow_secret}x"] * 5) == ["unknown_key"] * 5
    assert len(checked) == 1
    monkeypatch.setattr(imported, "WRONG_SECRETS_KEPT", 0)
    assert reasons([f"{slow_secret}y", f"{slow_secret}x", f"{slow_secret}y"]) == ["unknown_key"] * 3
    assert len(checked) == 4
    assert reasons([slow_secret, slow_secret]) == ["", ""]
    assert len(checked) == 5


@pytest.fixture
def paused(monkeypatch):
    """(The checks of slow hashes that have started, an event that they wait for)."""
    begun, may_go_on = [], threading.Event()
    original = imported.verifies

    def verifies(*pair):
        begun.append(pair)
        assert may_go_on.wait(20)
        return original(*pair)

    monkeypatch.setattr(imported, "verifies", verifies)
    yield begun, may_go_on
    may_go_on.set()


def test_other_decisions_do_not_wait_for_a_slow_hash(slow_secret, key, paused):
    begun, may_go_on = paused
    statuses = []
    waiting = threading.Thread(target=lambda: statuses.append(ask_event_loop(slow_secret)[0]))
    waiting.start()
    wait_until(lambda: begun)
    assert ask_event_loop(key.secret)[0] == "200 OK"
    assert statuses == []
    may_go_on.set()
    waiting.join()
    assert statuses == ["200 OK"]


def test_slow_hashes_are_checked_one_at_a_time(slow_secret, paused, monkeypatch):
    begun, may_go_on = paused
    monkeypatch.setattr(imported, "LONGEST_WAIT", 0)
    statuses = []
    waiting = threading.Thread(target=lambda: statuses.append(ask_event_loop(slow_secret)[0]))
    waiting.start()
    wait_until(lambda: begun)
    (verdict,) = decide_many([facts(f"{slow_secret}x")])
    assert (verdict.status, type(verdict.error)) == (503, imported.SlowHashesBusyError)
    assert ask_event_loop(f"{slow_secret}x")[0] == "503 Service Unavailable"
    assert len(begun) == 1
    may_go_on.set()
    waiting.join()
    assert statuses == ["200 OK"]


def test_number_of_waiting_slow_hashes_is_limited(slow_secret, monkeypatch):
    monkeypatch.setattr(batches, "MOST_SLOW_HASHES_WAITING", 0)
    status, headers, _ = ask_event_loop(slow_secret)
    assert (status, headers["Retry-After"]) == ("503 Service Unavailable", "1")


def test_concurrent_first_uses_are_all_allowed(slow_secret):
    assert [verdict.reason for verdict in in_parallel(4, lambda number: decide(facts(slow_secret)))] == [""] * 4


def test_rotation_before_first_use_ends_the_old_secret(slow_secret, alice):
    key = APIKey.objects.get()
    new = rotate_key(key, Author(alice))
    assert reasons([slow_secret, new]) == ["unknown_key", ""]


def test_old_secret_works_during_the_grace_period(secret, alice):
    key = APIKey.objects.get()
    new = rotate_key(key, Author(alice), grace=timedelta(hours=1))
    assert reasons([secret, new]) == ["", ""]
    key.refresh_from_db()
    assert (key.previous_hash, key.secret_hash) == (hash_secret(secret), hash_secret(new))
    APIKey.objects.update(previous_expires_at=timezone.now())
    assert reasons([secret]) == ["expired_key"]


def test_deleted_imported_key_is_unknown(secret):
    APIKey.objects.get().delete()
    assert reasons([secret]) == ["unknown_key"]


def test_secret_that_another_key_has_is_not_rehashed(slow_secret, alice):
    deleted = APIKey.objects.get()
    APIKey.objects.create(user=alice, name="twin", prefix="x", last4="x", secret_hash=hash_secret(slow_secret)).delete()
    assert reasons([slow_secret]) == ["unknown_key"]
    deleted.refresh_from_db()
    assert deleted.secret_hash == ImportedKey.objects.get().marker


@pytest.mark.parametrize("target", ["/s/{}", "/s?x={}", "/s?a%5bb%5d={}&c", "/s%2f{}"])
def test_starter_key_in_a_url_is_denied(slow_secret, key, target, verify):
    for secret in (slow_secret, slow_secret.replace("_", "%5F", 1).replace("f", "%66", 1)):
        assert verify(key=key.secret, method="GET", path=target.format(secret))["reason"] == "malformed_key"
    assert verify(key=key.secret, method="GET", path=target.format("fai_other").replace("%2f", "/"))["allowed"]


def test_urls_that_look_like_other_imported_keys_are_allowed(import_keys, key, verify):
    import_keys(as_csv(hash_row(), package_row(PACKAGE_SECRET)))
    for path in ("/acme_live_settings", f"/{PACKAGE_SECRET}", "/abcdefgh.json"):
        assert verify(key=key.secret, method="GET", path=path)["allowed"]


def test_starter_key_in_a_search_is_removed_from_the_url(slow_secret, staff_client):
    response = staff_client.get("/admin/apikeys/apikey/", {"q": slow_secret})
    assert (response.status_code, slow_secret in response["Location"]) == (302, False)


# --- Pages -----------------------------------------------------------------------------------------------------------


def test_staff_can_find_an_imported_key_by_its_secret(secret, staff_client):
    response = staff_client.post("/admin/apikeys/apikey/find/", {"secret": secret})
    assert str(APIKey.objects.get().pk) in response["Location"]


def test_staff_see_an_error_while_too_many_secrets_are_checked(slow_secret, staff_client, paused, monkeypatch):
    monkeypatch.setattr(imported, "LONGEST_WAIT", 0)
    with imported._turn:
        response = staff_client.post("/admin/apikeys/apikey/find/", {"secret": slow_secret})
    assert "Too many secrets are being checked at the moment. Try again in a few seconds." in response.text


def test_imported_key_is_explained(secret, staff_client):
    response = staff_client.post("/admin/apikeys/explain/", {"key": secret, "path": "/orders", "method": "GET"})
    assert response.context["explanation"].key.name == "old key"


# --- Formats -----------------------------------------------------------------------------------------------------------


def test_running_server_accepts_keys_imported_by_another_process(tmp_path, alice, counters):
    secret = starter_secret()
    file = tmp_path / "keys.csv"
    file.write_bytes(as_csv(hash_row(), starter_row(secret)))
    with gatehouse(tmp_path, workers=2, DEFAULT_RATE_LIMIT_LIMIT="1000000") as server:

        def status(key):
            headers = {"X-API-Key": key, "X-Original-Method": "GET", "X-Original-URI": "/orders"}
            return call(server.port, path="/authz/nginx", headers=headers).status

        assert {status(PLAIN) for _ in range(10)} == {401}
        call_command("import_keys", str(file), stdout=StringIO())
        for key in (PLAIN, secret):
            wait_until(lambda key=key: {status(key) for _ in range(20)} == {200}, seconds=20)


def test_server_start_waits_for_the_thread_that_reads_formats(monkeypatch):
    threads = []

    def learn(stopped, learned):
        threads.append(threading.current_thread().name)
        learned.set()

    monkeypatch.setattr(imported, "learn_until", learn)
    imported.keep_learning_formats()
    assert threads == ["imported-key-formats"]


def test_formats_are_read_repeatedly_and_an_outage_is_logged_once(monkeypatch):
    turns, stopped, learned = [], threading.Event(), threading.Event()

    def learn(*, quiet=False):
        turns.append((quiet, learned.is_set()))
        if len(turns) == 4:
            stopped.set()
        return len(turns) == 3  # an outage ends, and another begins

    monkeypatch.setattr(imported, "learn_or_log", learn)
    monkeypatch.setattr(imported, "LEARN_EVERY", 0)
    imported.learn_until(stopped, learned)
    assert turns == [(False, False), (True, True), (True, True), (False, True)]


def test_known_formats_are_kept_without_the_database(import_keys, monkeypatch, caplog):
    import_keys(as_csv(hash_row()))

    def gone():
        raise OperationalError("gone")

    assert imported.learn_or_log() is True
    monkeypatch.setattr(imported, "learn_formats", gone)
    with caplog.at_level(logging.WARNING):
        imported.learn_or_log()
    assert foreign.is_imported_form(PLAIN)
    assert "The formats of imported keys could not be read: gone" in caplog.text
    caplog.clear()
    assert imported.learn_or_log(quiet=True) is False
    assert caplog.text == ""
