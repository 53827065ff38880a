from __future__ import annotations


def test_livez_answers_without_a_database(client, django_assert_num_queries):
    assert client.get("/livez").status_code == 200


def test_readyz_is_ok_when_the_database_answers_and_nothing_is_pending(client, db):
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ok", "failing": []}
