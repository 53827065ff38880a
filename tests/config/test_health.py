"""/livez and /readyz."""

from __future__ import annotations

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.db.utils import OperationalError

from config import health
from tests.ratelimits.stores.redis_faults import FAULTS, redis_server, with_fault


def test_livez_works_without_a_database(client):
    # No django_db mark, so a query would fail the test.
    assert client.get("/livez").content == b"ok"


@pytest.mark.django_db
def test_readyz_is_ok(client):
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "failing": []}
    assert response["Cache-Control"] == "no-store"


@pytest.mark.django_db
def test_readyz_reports_pending_migrations(client):
    MigrationRecorder.Migration.objects.filter(app="tiers").delete()
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"status": "unavailable", "failing": ["migrations"]}


@pytest.mark.django_db
def test_readyz_reports_an_unavailable_database(client, monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise OperationalError("no route to the database")

    monkeypatch.setattr(connection, "cursor", refuse)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["failing"] == ["database", "migrations"]
    assert "no route to the database" in caplog.text
    assert "no route" not in response.content.decode()


@pytest.mark.django_db
def test_readyz_reports_an_unavailable_redis(client, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["failing"] == ["redis"]


@pytest.mark.redis
@pytest.mark.django_db
def test_readyz_reports_a_redis_that_cannot_count(client, settings, tmp_path):
    with redis_server(tmp_path) as server:
        port = server.port
        settings.REDIS_URL = f"redis://127.0.0.1:{port}/0"
        for fault in FAULTS:
            with with_fault(port, fault):
                response = client.get("/readyz")
                assert (response.status_code, response.json()["failing"]) == (503, ["redis"]), fault
            assert client.get("/readyz").status_code == 200


@pytest.mark.skipif(connection.vendor != "sqlite", reason="test_refused_by_database.py makes a PostgreSQL read-only")
@pytest.mark.django_db(transaction=True)
def test_readyz_reports_a_read_only_database_until_it_recovers(client):
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA query_only = 1")
    response = client.get("/readyz")
    assert (response.status_code, response.json()["failing"]) == (503, ["database"])
    # This session stays read-only; a new one isn't.
    assert client.get("/readyz").status_code == 200


@pytest.mark.django_db
def test_livez_makes_no_queries_for_a_signed_in_user(staff_client, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert staff_client.get("/livez").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_can_use_the_address_of_the_node(client, settings, path):
    settings.SECURE_SSL_REDIRECT = True
    assert client.get(path, headers={"host": "10.1.2.3:8000"}).status_code == 200
    assert client.get("/accounts/login/", headers={"host": "10.1.2.3:8000"}).status_code == 400


@pytest.mark.django_db
def test_health_checks_only_allow_get(client):
    assert client.post("/livez").status_code == 405
    assert client.post("/readyz").status_code == 405


def test_redis_is_not_checked_if_not_configured(settings):
    settings.REDIS_URL = ""
    assert "redis" not in health.checks()
