"""Connect a gateway: configurations to copy, and a self-test through a real gateway that only shows statuses."""

from __future__ import annotations

import re
import socket
import threading
from datetime import timedelta
from itertools import product
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apikeys.models import APIKey, GatewayTest, KeyUsage
from apikeys.tools import selftest
from apikeys.tools.gateway_setup import GATEWAYS, Addresses, configuration
from apikeys.tools.selftest import FORGED_IDENTITY
from tests.apikeys.conftest import make_key
from tests.apikeys.gateway.servers import ROOT, call, gatehouse, gateway, upstream
from tests.conftest import make_user
from tests.rows import make_staff, make_usage
from tiers.models import Tier

PAGE = "/admin/apikeys/connect/"
TEST = "/admin/apikeys/connect/test/"
SECRET = "between-us"


@pytest.fixture(scope="module")
def gatehouse_server(tmp_path_factory, django_db_setup):
    with gatehouse(tmp_path_factory.mktemp("gatehouse"), GATEWAY_SECRET=SECRET) as process:
        yield process


@pytest.fixture
def start_gateway(gatehouse_server, counters, tmp_path):
    """start_gateway("nginx", api) starts a gateway with Gatehouse in front of this API."""

    def start_gateway(name, api, **options):
        places = {"gatehouse_port": gatehouse_server.port, "upstream_port": api.server_address[1]}
        return gateway(name, tmp_path / name, secret=SECRET, **places, **options)

    return start_gateway


@pytest.mark.parametrize("name", GATEWAYS)
def test_configuration_has_no_placeholders_left(name):
    text = configuration(name, Addresses("gate:1", "[2001:db8::1]:2", "0.0.0.0:3", "s"))
    assert not re.findall(r"(?:GATEHOUSE|UPSTREAM|LISTEN)_|GATEWAY_SECRET", text)


@pytest.mark.parametrize("name", GATEWAYS)
def test_docs_contain_the_tested_configuration(name):
    page = Path(ROOT, "docs", "gateways", f"{name}.md").read_text()
    assert f"{configuration(name, Addresses())}```" in page


def test_page_shows_all_configurations_with_this_address(staff_client):
    response = staff_client.get(PAGE, headers={"host": "localhost:8123"})
    assert response.status_code == 200
    assert response.text.count("<pre") == 4
    assert "http://localhost:8123/authz/traefik" in response.text
    assert "&lt;GATEWAY_SECRET&gt;" in response.text


def test_gateway_secret_is_not_shown(staff_client, settings):
    settings.GATEWAY_SECRET = "between-us-only"
    assert "between-us-only" not in staff_client.get(PAGE).text


def test_addresses_can_be_filled_in(staff_client):
    places = {"gatehouse": "gate.internal:8000", "upstream": "[2001:db8::7]:9000", "listen": "0.0.0.0:443"}
    text = staff_client.get(PAGE, places).text
    assert "server gate.internal:8000;" in text
    assert "address: 2001:db8::7, port_value: 9000" in text


@pytest.mark.parametrize(
    "place",
    [
        *("gate", "gate:", ":80", "gate:0", "gate:99999", "gate:080", "gate:+80", "gate:８０", "gate:80 ;", "", "\0:1"),
        *("a b:80", "x;}:80", "gate:80\nevil", "gate:80\r\nevil", "gate\n:80", "{gate}:80", "$host:80", "gate#:80"),
        *("http://gate:80", "gate:80/", "gate/x:80", "user@gate:80", "*:80", "gâte:80", "-gate:80", "a..b:80", ".:80"),
        *("1.2.3:80", "999.1.1.1:80", "1.2.3.4.5:80", "::1:80", "[::1:80", "[:::]:80", "[fe80::1%eth0]:80", "[::1]80"),
        *("{env.GATEWAY_SECRET}:80", "unix//run/x:80", "a" * 64 + ":80"),
    ],
)
@pytest.mark.parametrize("field", ["gatehouse", "upstream", "listen"])
def test_only_an_address_gets_into_a_configuration(staff_client, field, place):
    places = {"gatehouse": "gate:1", "upstream": "api:1", "listen": "0.0.0.0:1"}
    response = staff_client.get(PAGE, places | {field: place})
    if "\0" not in place:
        assert "errorlist" in response.text
        assert "server gate:1;" not in response.text  # as if the form were empty
    assert response.status_code in {200, 400}


@pytest.mark.parametrize("listen", ["api.example.com:8080", "localhost:8080", "gate:1", "*:8080"])
def test_listen_address_cannot_be_a_host_name(staff_client, listen):
    response = staff_client.get(PAGE, {"gatehouse": "gate:1", "upstream": "api:1", "listen": listen})
    assert "Enter an IP address and a port" in response.text


@pytest.mark.parametrize("place", ["0.0.0.0:8000", "[::]:8000"])
def test_unspecified_address_of_gatehouse_is_an_error(staff_client, place):
    response = staff_client.get(PAGE, {"gatehouse": place, "upstream": "api:1", "listen": "0.0.0.0:1"})
    assert "Enter a host and a port" in response.text


def test_api_address_must_differ_from_gatehouses(staff_client):
    response = staff_client.get(PAGE, {"gatehouse": "api:9000", "upstream": "API:9000", "listen": "0.0.0.0:1"})
    assert "This is the address of Gatehouse." in response.text


@pytest.mark.parametrize("host", ["localhost:99999", "localhost:0"])
def test_invalid_host_header_is_not_filled_in(staff_client, host):
    response = staff_client.get(PAGE, headers={"host": host})
    assert "gatehouse.internal:8000" in response.text


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "127.0.0.1:8080", "[::]:8080", "[::1]:8080"])
def test_no_configuration_matches_a_host_name(listen):
    addresses = Addresses(listen=listen)
    assert "\nhttp://:8080 {" in configuration("caddy", addresses)
    assert "server_name" not in configuration("nginx", addresses)
    [listener] = yaml.safe_load(configuration("envoy", addresses))["static_resources"]["listeners"]
    socket = listener["address"]["socket_address"]
    assert (socket["address"], socket["port_value"]) == (listen.rpartition(":")[0].strip("[]"), 8080)
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    [virtual_host] = manager["route_config"]["virtual_hosts"]
    assert virtual_host["domains"] == ["*"]
    assert yaml.safe_load(configuration("traefik", addresses))["http"]["routers"]["api"]["rule"] == "PathPrefix(`/`)"


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
def test_invalid_url_is_a_field_error(staff_client, url):
    response = staff_client.post(TEST, {"url": url})
    assert response.status_code == 200
    assert "errorlist" in response.text
    assert not APIKey.objects.exists()


@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "224.0.0.1", "0.0.0.0", "no-such-host.invalid"]
)
def test_addresses_that_cannot_be_gateways_are_not_requested(staff_client, host):
    response = staff_client.post(TEST, {"url": f"http://{host}/latest/meta-data"})
    assert "Nothing was tested." in response.text
    assert not APIKey.objects.exists()


def test_unreachable_gateway_is_reported(staff_client):
    response = staff_client.post(TEST, {"url": "http://127.0.0.1:1/"})
    assert "127.0.0.1:1 doesn&#x27;t respond" in response.text
    assert not APIKey.objects.exists()


def test_tls_is_verified(staff_client):
    with upstream() as plain:
        response = staff_client.post(TEST, {"url": f"https://127.0.0.1:{plain.server_address[1]}/"})
    assert "doesn&#x27;t respond (SSL" in response.text


def test_only_superusers_can_run_the_self_test(client, free):
    clerk = make_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(clerk)
    page = client.get(PAGE)
    assert page.status_code == 200
    assert "Run self-test" not in page.text
    assert client.post(TEST, {"url": "http://127.0.0.1:1/"}).status_code == 403


@pytest.mark.django_db(transaction=True)
def test_api_without_a_gateway_fails_the_self_test(staff_client, counters):
    with upstream() as api:
        response = staff_client.post(TEST, {"url": f"http://127.0.0.1:{api.server_address[1]}/orders"})
    results = {result.title: result for result in response.context["results"]}
    assert "Don't open this gateway" in response.text
    assert not any(result.passed for result in results.values())
    assert len(results) == 12
    assert not APIKey.objects.exists()
    assert "forged-by-gatehouse" not in response.text


@pytest.mark.gateway
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["nginx", "caddy", "envoy"])
def test_gateway_protects_all_hosts_paths_and_methods(start_gateway, alice, name):
    key = make_key(alice).secret
    with upstream() as api, start_gateway(name, api, listen="0.0.0.0") as front:
        hosts = ("api.example.com", "api.example.com:8080", "0.0.0.0", "127.0.0.1", "localhost", "[::1]", "x", "_")
        paths = ("/", "//", "/orders", "//orders", "/./orders", "/%6frders", "/orders%2fx", "/a?b=//", "/authz/nginx")
        for host, path in product(hosts, paths):
            answer = call(front.port, path=path, headers={"Host": host})
            assert answer.status in {400, 401}, (host, path)
        for host, method in product(hosts, ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")):
            answer = call(front.port, method, "/orders", {"Host": host})
            assert answer.status == 401, (host, method)
        assert not api.arrived
        for host in hosts:
            assert call(front.port, path="/orders", headers={"Host": host, "X-API-Key": key}).status == 200


@pytest.mark.gateway
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["nginx", "caddy", "envoy"])
def test_gateway_with_the_published_configuration_passes(staff_client, start_gateway, name):
    with upstream() as api, start_gateway(name, api) as front:
        response = staff_client.post(TEST, {"url": f"http://127.0.0.1:{front.port}/orders"})
    assert response.context["failure"] == ""
    failed = [result for result in response.context["results"] if not result.passed]
    assert not failed
    assert "Passed" in response.text
    assert not APIKey.objects.exists()
    assert not KeyUsage.objects.exists()


BROKEN = {
    "only serves one host name": ("caddy", "http://:", "http://127.0.0.1:", {"For another host name"}),
    "keeps forged headers": ("caddy", "request_header -*_*", "", {"With forged identity headers"}),
    "removes headers named in Connection": (
        "caddy",
        "request_header @plain -Connection",
        "",
        {"With the identity headers named in Connection"},
    ),
    "passes on a forged host": (
        "nginx",
        "proxy_set_header X-Original-Host   $host;",
        "",
        {"With a forged host"},
    ),
    "doesn't protect a path": (
        "nginx",
        "location / {",
        "location // { proxy_pass http://api; }\n    merge_slashes off;\n    location / {",
        {"For other spellings of the path"},
    ),
}


@pytest.mark.gateway
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("fault", BROKEN)
def test_misconfigured_gateway_fails(staff_client, start_gateway, fault):
    name, old, new, failing = BROKEN[fault]
    with (
        upstream() as api,
        start_gateway(name, api, change=lambda text: text.replace(old, new)) as front,
    ):
        response = staff_client.post(TEST, {"url": f"http://127.0.0.1:{front.port}/orders"})
    assert {result.title for result in response.context["results"] if not result.passed} == failing
    assert "Don't open this gateway" in response.text


REJECTING = {
    "closes the connection": "if ($host != 127.0.0.1) { return 444; }",
    "rejects": "if ($host != 127.0.0.1) { return 421; }",
    "redirects": "if ($host != 127.0.0.1) { return 301 https://api.example.com$request_uri; }",
    "rejects unusual paths": "if ($request_uri ~ //) { return 400; }",
    "rejects upgrades": "if ($http_connection ~ X-Auth) { return 400; }",
}


@pytest.mark.gateway
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("rule", REJECTING)
def test_gateway_may_reject_unusual_requests_itself(staff_client, start_gateway, rule):
    def add_rule(text):
        return text.replace("    location / {", f"    {REJECTING[rule]}\n    location / {{", 1)

    with (
        upstream() as api,
        start_gateway("nginx", api, change=add_rule) as front,
    ):
        response = staff_client.post(TEST, {"url": f"http://127.0.0.1:{front.port}/orders"})
    assert response.context["failure"] == ""
    assert not [result for result in response.context["results"] if not result.passed]
    got = {result.got for result in response.context["results"]}
    assert ("closed" in got) is (rule == "closes the connection")


@pytest.mark.django_db(transaction=True)
def test_api_that_denies_everything_fails(staff_client, counters):
    with upstream() as api:
        response = staff_client.post(TEST, {"url": f"http://127.0.0.1:{api.server_address[1]}/status/403"})
    passed = {result.title for result in response.context["results"] if result.passed}
    assert not passed


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_access", [True, False])
def test_expected_status_without_a_key_depends_on_the_anonymous_tier(staff_client, counters, settings, has_access):
    settings.ANONYMOUS_TIER = "public"
    tier = Tier.objects.create(name="public")
    if not has_access:
        tier.access.all().delete()
    with upstream() as api:
        response = staff_client.post(TEST, {"url": f"http://127.0.0.1:{api.server_address[1]}/orders"})
    [result] = [result for result in response.context["results"] if result.title == "Without a key"]
    assert (result.expected, result.passed) == (("the API's response", True) if has_access else ("403", False))


def test_self_test_forges_every_spelling():
    for name in ("X-Auth-User-Id", "X-Auth_User-Id", "X_Auth-User-Id", "X_Auth_User_Id", "X_Auth_Tier", "X-Auth-Tier"):
        assert name in FORGED_IDENTITY
    assert len(FORGED_IDENTITY) == 3 * 8 + 2 * 4


def test_page_shows_steps_and_connected_gateways(staff_client, alice):
    page = staff_client.get(PAGE).content.decode()
    steps = ["Fill in your addresses", "Copy the configuration of your gateway", "Run the self-test", "Connected"]
    assert re.findall(r'<h2 class="card-title" id="[\w-]+">([^<]+)</h2>', page) == steps
    assert page.count('<button type="button" class="copy" hidden>') == 4
    assert "No gateways have been tested yet." in page
    GatewayTest.objects.note("api.example.com:8443", passed=True)
    GatewayTest.objects.note("other.example.com", passed=False)
    make_usage(make_key(alice), host="api.example.com")
    page = " ".join(staff_client.get(PAGE).content.decode().split())
    assert re.search(r'api\.example\.com:8443</th> <td><span class="badge badge-ok">passed', page)
    assert re.search(r'<a href="/admin/usage/requests/\?host=api\.example\.com"><time [^>]+>just now</time></a>', page)
    assert re.search(
        r"other\.example\.com</th> <td><span class=\"badge badge-danger\">failed.*none in the last 24 hours", page
    )


def test_last_requests_are_limited_to_24_hours(alice, db):
    GatewayTest.objects.note("api.example.com", passed=True)
    event = make_usage(make_key(alice), host="api.example.com")
    KeyUsage.objects.filter(pk=event.pk).update(created_at=event.created_at - timedelta(hours=25))
    assert [last for _, last in GatewayTest.objects.with_last_requests()] == [None]


def test_number_of_queries_does_not_grow_with_gateways(staff_client, django_assert_num_queries):
    with CaptureQueriesContext(connection) as few:
        staff_client.get(PAGE)
    for number in range(10):
        GatewayTest.objects.note(f"gate{number}.example.com", passed=True)
    with django_assert_num_queries(len(few) + 1):
        staff_client.get(PAGE)


def test_staff_who_cannot_run_the_test_are_told_whom_to_ask(client, db):
    client.force_login(make_staff("viewer", "apikeys.view_apikey"))
    GatewayTest.objects.note("api.example.com", passed=True)
    make_usage(make_key(make_user("olu")), host="api.example.com")
    page = client.get(PAGE).content.decode()
    assert "Ask a superuser to run it" in page
    assert "/admin/usage/requests/?host=" not in page


def close_connection(server):
    server.accept()[0].close()


def test_closed_connection_counts_as_rejection(alice):
    key = make_key(alice)
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=close_connection, args=(server,))
        answering.start()
        host, port = server.getsockname()
        client = selftest.KeyTester(selftest.Tester(urlsplit(f"http://{host}:{port}/"), host), key, key.secret)
        response, asked = client.send_unusual("//")
        answering.join()
    assert not asked
    assert response.is_rejection(selftest.Response(200))
