"""Connect a gateway: configurations to copy, and a self-test through the real gateway that shows statuses only."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission

from apikeys.gateway_setup import FILES, Places, configuration
from apikeys.models import APIKey, KeyUsage
from tests.apikeys.servers import ROOT, gatehouse, gateway, upstream
from tests.conftest import make_user

PAGE = "/admin/apikeys/connect/"
TEST = "/admin/apikeys/connect/test/"


@pytest.mark.parametrize("name", FILES)
def test_a_configuration_has_no_placeholder_left(name):
    text = configuration(name, Places("gate:1", "[2001:db8::1]:2", "0.0.0.0:3", "s"))
    assert not re.findall(r"(?:GATEHOUSE|UPSTREAM|LISTEN)_|GATEWAY_SECRET", text)


@pytest.mark.parametrize("name", FILES)
def test_the_documentation_shows_the_file_that_is_tested(name):
    page = Path(ROOT, "docs", "gateways", f"{name}.md").read_text()
    assert f"{configuration(name, Places())}```" in page


def test_the_page_shows_all_four_filled_with_this_address(staff_client):
    response = staff_client.get(PAGE, headers={"host": "localhost:8123"})
    assert response.status_code == 200
    assert response.text.count("<pre") == 4
    assert "http://localhost:8123/authz/traefik" in response.text
    assert "&lt;GATEWAY_SECRET&gt;" in response.text


def test_the_secret_itself_is_not_shown(staff_client, settings):
    settings.GATEWAY_SECRET = "between-us-only"
    assert "between-us-only" not in staff_client.get(PAGE).text


def test_the_places_can_be_filled_in(staff_client):
    places = {"gatehouse": "gate.internal:8000", "upstream": "[2001:db8::7]:9000", "listen": "0.0.0.0:443"}
    text = staff_client.get(PAGE, places).text
    assert "server gate.internal:8000;" in text
    assert "address: 2001:db8::7, port_value: 9000" in text


@pytest.mark.parametrize(
    "place",
    ["gate", "gate:", "gate:0", "gate:99999", "a b:80", "x;}:80", "http://gate:80", "gate:80\nevil", "\0:1", ""],
)
def test_only_a_place_gets_into_a_configuration(staff_client, place):
    response = staff_client.get(PAGE, {"gatehouse": place, "upstream": "api:1", "listen": "0.0.0.0:1"})
    if "\0" not in place:
        assert "errorlist" in response.text
        assert "server evil" not in response.text
    assert response.status_code in {200, 400}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "orders",
        "ftp://api.example.com/",
        "file:///etc/passwd",
        "gopher://x/",
        "http://",
        "http://user:pw@api.example.com/",
        "http://api.example.com/?x=1",
        "http://api.example.com/#x",
        "http://a b/",
        "http://[::1/",
        "http://x:99999/",
        "http://api.example.com/\r\nX: y",
        "javascript:alert(1)",
        "http://münchen.example/",
    ],
)
def test_a_url_that_is_no_api_is_refused_at_the_field(staff_client, url):
    response = staff_client.post(TEST, {"url": url})
    assert response.status_code == 200
    assert "errorlist" in response.text
    assert not APIKey.objects.exists()


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "224.0.0.1", "0.0.0.0", "no-such-host.invalid"]
)
def test_places_where_no_gateway_is_are_not_asked(staff_client, host):
    response = staff_client.post(TEST, {"url": f"http://{host}/latest/meta-data"})
    assert "Nothing was tested." in response.text
    assert not APIKey.objects.exists()


def test_a_gateway_that_does_not_answer_is_said_not_to(staff_client):
    response = staff_client.post(TEST, {"url": "http://127.0.0.1:1/"})
    assert "127.0.0.1:1 does not answer" in response.text
    assert not APIKey.objects.exists()


def test_tls_is_verified(staff_client):
    with upstream() as plain:
        response = staff_client.post(TEST, {"url": f"https://127.0.0.1:{plain.server_address[1]}/"})
    assert "does not answer (SSL" in response.text


def test_only_superusers_may_send_requests_from_here(client, free):
    clerk = make_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(clerk)
    page = client.get(PAGE)
    assert page.status_code == 200
    assert "Run the self-test" not in page.text
    assert client.post(TEST, {"url": "http://127.0.0.1:1/"}).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_an_open_door_fails_the_test(staff_client, counters):
    with upstream() as bare:
        response = staff_client.post(TEST, {"url": f"http://127.0.0.1:{bare.server_address[1]}/orders"})
    results = {result.title: result for result in response.context["results"]}
    assert "Do not open this gateway" in response.text
    assert not any(result.passed for result in results.values())
    assert len(results) == 8
    assert not APIKey.objects.exists()
    assert "forged-by-gatehouse" not in response.text


@pytest.mark.gateway
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["nginx", "caddy", "envoy"])
def test_a_gateway_with_the_published_configuration_passes(staff_client, counters, tmp_path, name):
    with (
        upstream() as api,
        gatehouse(tmp_path, "-w", "1", "-k", "gthread", "--threads", "2", GATEWAY_SECRET="s") as behind,
        gateway(
            name, tmp_path / name, gatehouse_port=behind.port, upstream_port=api.server_address[1], secret="s"
        ) as front,
    ):
        response = staff_client.post(TEST, {"url": f"http://127.0.0.1:{front.port}/orders"})
    assert response.context["failure"] == ""
    failed = [result for result in response.context["results"] if not result.passed]
    assert not failed
    assert "Passed" in response.text
    assert not APIKey.objects.exists()
    assert not KeyUsage.objects.exists()
