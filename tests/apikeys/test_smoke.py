from __future__ import annotations

from apikeys.models import KeyUsage


def test_a_key_is_let_in_and_the_event_is_recorded(ask, key):
    response = ask(key.secret)
    assert response.status_code == 200, response.content
    print(response.headers)
    event = KeyUsage.objects.get()
    assert str(event.pk) == response["X-Auth-Event-Id"]


def test_verify(verify, key):
    print(verify(key=key.secret, method="GET", path="/a"))
    print(verify(key="x", method="GET", path="/a"))


def test_whoami(client, key):
    r = client.get("/api/v1/whoami", headers={"X-API-Key": key.secret})
    print(r.content, r.headers)
    assert r.status_code == 200
    assert client.get("/api/v1/whoami").status_code == 401
