"""/metrics: who can read it, and the metrics from the database."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.db.utils import OperationalError
from django.utils import timezone

from tests.apikeys.gateway.servers import database_url
from tests.metrics import scrape
from tests.rows import make_key
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db
OLDEST = ("gatehouse_database_oldest_transaction_seconds",)


@pytest.mark.parametrize(
    ("trusted", "peer", "expected"),
    [
        (["127.0.0.0/8"], "127.0.0.1", 200),
        (["10.0.0.0/8"], "10.1.2.3", 200),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", 200),
        (["10.0.0.0/8"], "11.0.0.1", 403),
        (["10.0.0.0/8"], "127.0.0.1", 403),
        (["unix:"], "", 200),
        (["unix:"], "127.0.0.1", 403),
        (["127.0.0.0/8", "0.0.0.0/0", "::/0"], "", 403),
        ([], "127.0.0.1", 403),
    ],
)
def test_only_trusted_addresses_can_read_metrics(client, settings, trusted, peer, expected):
    settings.METRICS_TRUSTED = trusted
    response = client.get("/metrics", REMOTE_ADDR=peer, headers={"X-Forwarded-For": "127.0.0.1"})
    assert response.status_code == expected
    if expected == 403:
        assert response["Content-Type"] == "application/problem+json"
        assert b"gatehouse_" not in response.content


@pytest.mark.parametrize(
    ("peer", "client_address", "expected"), [("127.0.0.1", "127.0.0.9", 200), ("127.0.0.1", "8.8.8.8", 403)]
)
def test_clients_of_a_trusted_proxy_cannot_read_metrics(client, settings, peer, client_address, expected):
    settings.TRUSTED_PROXY_HOPS = 1
    response = client.get("/metrics", REMOTE_ADDR=peer, headers={"X-Forwarded-For": client_address})
    assert response.status_code == expected


def test_prometheus_can_use_plain_http_and_the_address_of_the_node(client, settings):
    settings.SECURE_SSL_REDIRECT = True
    response = client.get("/metrics", headers={"host": "10.1.2.3:8000"})
    assert response.status_code == 200
    assert response["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert response["Cache-Control"] == "no-store"
    assert client.post("/metrics").status_code == 405


def test_active_keys_that_expire_soon_are_counted(client, alice):
    now = timezone.now()
    for days in (0.5, 6, 13, 29, 31):
        make_key(alice, expires_at=now + timedelta(days=days))
    make_key(alice, expires_at=now + timedelta(days=2), revoked_at=now)
    make_key(alice)
    seen = scrape(client)
    assert [seen["gatehouse_keys_expiring", days] for days in ("1", "7", "14", "30")] == [1, 2, 3, 4]
    assert seen["gatehouse_database_up",] == 1


def test_a_scrape_takes_few_queries(client, alice, django_assert_num_queries):
    for _ in range(3):
        make_key(alice, expires_at=timezone.now() + timedelta(days=1))
    with django_assert_num_queries(3 if connection.vendor == "postgresql" else 2):
        scrape(client)


@pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite")
def test_sqlite_has_no_metric_for_open_transactions(client):
    assert OLDEST not in scrape(client)


@pytest.mark.postgresql
@pytest.mark.skipif(connection.vendor != "postgresql", reason="about PostgreSQL")
@pytest.mark.django_db(transaction=True)
def test_the_oldest_open_transaction_is_measured(client):
    def scrape_while_open(other):
        query = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND clock_timestamp() - xact_start > '0.1 s'"
        with connection.cursor() as cursor:
            wait_until(lambda: cursor.execute(query, [other.info.backend_pid]).fetchone()[0])
        return scrape(client)[OLDEST]

    with psycopg.connect(database_url()) as other:
        other.execute("SELECT 1")
        assert scrape_while_open(other) > 0.1
        other.rollback()
        assert scrape(client)[OLDEST] < 0.1


def test_other_metrics_are_available_without_a_database(client, monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise OperationalError("no route to the database")

    monkeypatch.setattr(connection, "cursor", refuse)
    seen = scrape(client)
    assert seen["gatehouse_database_up",] == 0
    assert ("gatehouse_queue_depth",) in seen
    assert ("gatehouse_keys_expiring", "1") not in seen
    assert "no route to the database" in caplog.text
