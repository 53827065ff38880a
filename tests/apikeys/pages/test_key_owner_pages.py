"""/account/keys/: owners manage their own keys, and no one else can."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from apikeys import services
from apikeys.models import APIKey, KeyPermission
from apikeys.secrets import hash_secret, is_well_formed
from tests.apikeys.usage.events import event, issue_key_to

LIST = "/account/keys/"
NEW = "/account/keys/new/"
KEY_PAGES = ("", "edit/", "rotate/", "disable/", "enable/", "expire/", "revoke/")
SECRET = re.compile(r"gate_[0-9A-Za-z]{49}")


def key_url(key, name=""):
    return f"{LIST}{key.pk}/{name}"


def text(response):
    return response.content.decode()


def secret_in(response):
    found = SECRET.findall(text(response))
    assert len(set(found)) == 1, found
    return found[0]


def picker(*rows):
    data = {"permissions-TOTAL_FORMS": len(rows), "permissions-INITIAL_FORMS": 0}
    for number, (resource, *actions) in enumerate(rows):
        data |= {f"permissions-{number}-resource": resource, f"permissions-{number}-actions": actions}
    return data


def at_host(host, rows, number=0):
    return rows | {f"permissions-{number}-host": host}


def form_token(client, url=NEW):
    return re.search(r'name="form_token" value="([^"]+)"', text(client.get(url))).group(1)


def test_anonymous_visitors_must_sign_in(client, alice):
    key = issue_key_to(alice)
    for url in (LIST, NEW, *(key_url(key, name) for name in KEY_PAGES)):
        response = client.get(url)
        assert response.status_code == 302
        assert "login" in response.url


def test_empty_list_offers_to_create_a_key(owner):
    assert "Create your first key" in text(owner.get(LIST))


def test_secret_is_shown_in_the_response_to_the_form(owner, alice):
    response = owner.post(NEW, {"name": "nightly export"})
    assert response.status_code == 200
    key = APIKey.objects.get()
    secret = secret_in(response)
    assert is_well_formed(secret)
    assert (key.user, key.name, key.secret_hash) == (alice, "nightly export", hash_secret(secret))
    assert (key.prefix, key.last4) == (secret[:11], secret[-4:])
    assert str(key.pk) not in text(response)
    assert "no-store" in response["Cache-Control"]
    assert response["Referrer-Policy"] == "no-referrer"
    assert [str(permission) for permission in key.permissions.all()] == ["* *"]


def test_form_defaults_to_everything_and_90_days(owner):
    form = text(owner.get(NEW))
    assert re.search(r'value="everything"[^>]* checked', form)
    assert re.search(r'<option value="90" selected>', form)


def test_resubmitted_form_creates_no_second_key(owner):
    data = {"name": "once", "form_token": form_token(owner)}
    secret = secret_in(owner.post(NEW, data))
    again = owner.post(NEW, data)
    assert again.status_code == 409
    assert secret not in text(again)
    assert "The form was sent twice." in text(again)
    assert APIKey.objects.count() == 1


def test_concurrent_submissions_of_one_form_create_one_key(owner, alice, monkeypatch):
    data = {"name": "once", "form_token": form_token(owner)}
    issue = services.issue_key

    def issue_second(*args, **kwargs):
        monkeypatch.undo()
        issue(*args, **kwargs)
        return issue(*args, **kwargs)

    monkeypatch.setattr(services, "issue_key", issue_second)
    response = owner.post(NEW, data)
    assert response.status_code == 409
    assert APIKey.objects.count() == 1


def test_invalid_form_token_is_rejected_and_replaced(owner, bob, client):
    for token in ("forged", "x" * 400, form_token_for(bob)):
        response = owner.post(NEW, {"name": "once", "form_token": token})
        assert response.status_code == 400
        assert "Check it and submit it again" in text(response)
        assert not APIKey.objects.exists()
        fresh = re.search(r'name="form_token" value="([^"]+)"', text(response)).group(1)
        assert fresh != token
    secret_in(owner.post(NEW, {"name": "once", "form_token": fresh}))


def form_token_for(user):
    from apikeys.pages.forms import CreateKeyForm

    return CreateKeyForm(creator=user).initial["form_token"]


@pytest.mark.parametrize(("expiry", "days"), [("30", 30), ("90", 90), ("365", 365)])
def test_expiry_presets(owner, expiry, days):
    owner.post(NEW, {"name": "k", "expiry": expiry})
    left = APIKey.objects.get().expires_at - timezone.now()
    assert timedelta(days=days, minutes=-1) < left <= timedelta(days=days)


def test_never_and_no_choice_mean_no_expiry(owner):
    owner.post(NEW, {"name": "a", "expiry": "never"})
    owner.post(NEW, {"name": "b"})
    assert [key.expires_at for key in APIKey.objects.all()] == [None, None]


def test_custom_day_ends_at_midnight_utc(owner):
    owner.post(NEW, {"name": "k", "expiry": "custom", "expires_at": "2099-03-31"})
    assert f"{APIKey.objects.get().expires_at:%Y-%m-%d %H:%M %Z}" == "2099-04-01 00:00 UTC"


def test_time_with_an_offset_is_converted_to_utc(owner):
    owner.post(NEW, {"name": "k", "expires_at": "2099-03-31T18:00+02:00"})
    assert f"{APIKey.objects.get().expires_at:%Y-%m-%d %H:%M}" == "2099-03-31 16:00"


INVALID = [
    ({"name": ""}, "Enter a name"),
    ({"name": "  "}, "Enter a name"),
    ({"name": "n" * 101}, "at most 100"),
    ({"name": "a" * 1_000_000}, "at most 100"),
    ({"name": "a\0b"}, "Null characters"),
    ({"name": "a\tb"}, "Remove the tab"),
    ({"name": "k", "expiry": "custom"}, "Choose the last day"),
    ({"name": "k", "expiry": "whenever"}, "Select a valid choice"),
    ({"name": "k", "expiry": "90", "expires_at": "2099-01-01"}, "You also entered a date"),
    ({"name": "k", "expires_at": "2020-01-01"}, "in the past"),
    ({"name": "k", "expires_at": "2099-03-31T18:00"}, "offset from UTC"),
    ({"name": "k", "expires_at": "31/03/2099"}, "Enter a day"),
    ({"name": "k", "expires_at": "9999-12-31"}, "too far in the future"),
    ({"name": "k", "expires_at": "9997-12-30"}, "within 100 years"),
    ({"name": "k", "expires_at": "0001-01-01T00:00+14:00"}, "Enter a day"),
    ({"name": "k", "expires_at": "9" * 1_000_000}, "Enter a day"),
    ({"name": "k", "allowed_ips": "10.0.0.1/8"}, "Enter 10.0.0.0/8 for the network"),
    ({"name": "k", "allowed_ips": "10.0.0.0/33"}, "isn't an IP address or network"),
    ({"name": "k", "allowed_ips": "example.com\n10.0.0.1"}, "isn't an IP address"),
    ({"name": "k", "allowed_ips": "fe80::1%eth0"}, "zone"),
    ({"name": "k", "allowed_ips": "1" * 1_000_000}, "at most 8000"),
    ({"name": "k", "allowed_ips": "\n".join(["10.0.0.1"] * 101)}, "at most 100 addresses"),
    ({"name": "k", "rate_limit": "5"}, "Enter the period"),
    ({"name": "k", "rate_period": "5"}, "Enter how many requests"),
    ({"name": "k", "rate_limit": "0", "rate_period": "60"}, "Enter 1 or more."),
    ({"name": "k", "rate_limit": str(2**63), "rate_period": "60"}, " or less."),
    ({"name": "k", "rate_limit": "9" * 5000, "rate_period": "60"}, "whole number"),
    ({"name": "k", "rate_limit": "5", "rate_period": "2678401"}, "Enter a period from 1 second to 31 days"),
    ({"name": "k", "rate_limit": "x", "rate_period": "60"}, "whole number"),
    ({"name": "k", "allow": "listed"}, "List at least one permission"),
    ({"name": "k", "allow": "some"}, "Select a valid choice"),
    ({"name": "k", "allow": "everything"} | picker(("/a", "read")), "Choose one of the two"),
    ({"name": "k", "allow": "listed"} | picker(("/a",)), "Select at least one action"),
    ({"name": "k", "allow": "listed"} | picker(("", "read")), "Enter a path such as"),
    ({"name": "k", "allow": "listed"} | picker(("/a", "fly")), "Choose one of the actions shown"),
    ({"name": "k", "allow": "listed"} | picker(("/a b", "read")), "Use only unaccented letters"),
    ({"name": "k", "allow": "listed"} | picker(("/a/*/b", "read")), "Use * only as the last segment"),
    ({"name": "k", "allow": "listed"} | picker(("no name!", "read")), "isn't a valid resource"),
    ({"name": "k", "allow": "listed"} | picker(("/" + "a" * 300, "read")), "at most 255"),
    ({"name": "k", "allow": "listed"} | at_host("api.example.com:80", picker(("/a", "read"))), "Remove the port"),
    ({"name": "k", "allow": "listed"} | at_host("http://a/b", picker(("/a", "read"))), "Remove the scheme"),
    ({"name": "k", "allow": "listed"} | at_host("a" * 256, picker(("/a", "read"))), "at most 255"),
    ({"name": "k", "allow": "listed"} | at_host("api.example.com", picker(("",))), "Enter a path such as"),
    ({"name": "k", "permissions-TOTAL_FORMS": "x", "permissions-INITIAL_FORMS": "0"}, "Correct the permissions"),
    ({"name": "k"} | picker(*[(f"/a{number}", "read") for number in range(61)]), "Correct the permissions"),
]


@pytest.mark.parametrize(("data", "message"), INVALID, ids=range(len(INVALID)))
def test_invalid_input_is_a_field_error_and_creates_no_key(owner, data, message):
    response = owner.post(NEW, data)
    assert response.status_code == 400
    assert message in text(response).replace("&quot;", '"').replace("&#x27;", "'")
    assert not APIKey.objects.exists()


def test_input_is_kept_and_escaped_after_an_error(owner):
    response = owner.post(NEW, {"name": "<b>k</b>", "allowed_ips": "<script>"} | picker(("/kept", "read")))
    assert "&lt;b&gt;k&lt;/b&gt;" in text(response)
    assert "<script>" not in text(response).replace("<script src", "")
    assert 'value="/kept"' in text(response)


def test_unknown_fields_are_ignored(owner, alice, bob):
    extra = {"user": bob.pk, "owner": bob.pk, "secret_hash": "0" * 64, "revoked_at": "2020-01-01", "id": str(uuid4())}
    owner.post(NEW, {"name": "mine", "is_active": "", **extra})
    key = APIKey.objects.get()
    assert (key.user, key.is_active, key.revoked_at) == (alice, True, None)
    assert str(key.pk) != extra["id"]
    assert key.secret_hash != extra["secret_hash"]


def test_key_is_created_with_permissions_addresses_and_limit(owner):
    data = {"name": "k", "allow": "listed", "allowed_ips": "192.0.2.7, 2001:db8::/32\n::ffff:10.0.0.0/104"}
    rows = picker(("/orders/*", "read", "create"), ("billing", "*", "read"), ("",))
    rows = at_host("*.Bücher.example", rows)
    owner.post(NEW, data | rows | {"rate_limit": "10", "rate_period": "60"})
    key = APIKey.objects.get()
    assert {str(row) for row in key.permissions.all()} == {
        "read /orders/* at *.xn--bcher-kva.example",
        "create /orders/* at *.xn--bcher-kva.example",
        "* billing",
    }
    assert key.allowed_ips == ["192.0.2.7", "2001:db8::/32", "10.0.0.0/8"]
    assert (key.rate_limit, key.rate_period) == (10, 60)


def test_list_separates_active_and_ended_keys(owner, alice, bob):
    issue_key_to(alice, "working")
    issue_key_to(alice, "paused").__class__.objects.filter(name="paused").update(is_active=False)
    APIKey.objects.filter(pk=issue_key_to(alice, "revoked one").pk).revoke("gone")
    APIKey.objects.filter(pk=issue_key_to(alice, "old one").pk).update(expires_at=timezone.now())
    issue_key_to(alice, "removed").delete()
    issue_key_to(bob, "foreign")
    in_use, ended = text(owner.get(LIST)), text(owner.get(LIST, {"show": "ended"}))
    shown = {
        name: (name in in_use, name in ended)
        for name in ("working", "paused", "revoked one", "old one", "removed", "foreign")
    }
    assert shown == {
        "working": (True, False),
        "paused": (True, False),
        "revoked one": (False, True),
        "old one": (False, True),
        "removed": (False, False),
        "foreign": (False, False),
    }


@pytest.mark.parametrize("count", [1, 20])
def test_number_of_queries_does_not_grow_with_keys(owner, alice, count, django_assert_max_num_queries):
    for number in range(count):
        event(issue_key_to(alice, f"key {number}"))
    with django_assert_max_num_queries(15):
        response = owner.get(LIST)
    assert text(response).count('class="sparkline"') == count


def make_expired_key(owner):
    key = issue_key_to(owner, "old one")
    APIKey.objects.filter(pk=key.pk).update(expires_at=timezone.now() - timedelta(days=1))


@pytest.mark.parametrize("file_format", ["csv", "xlsx", "json"])
def test_owners_export_their_own_keys_without_secrets(owner, alice, bob, file_format):
    key = issue_key_to(alice, "mine")
    issue_key_to(bob, "foreign")
    make_expired_key(alice)
    response = owner.get(LIST, {"format": file_format})
    assert response["Content-Disposition"] == f'attachment; filename="apikeys.{file_format}"'
    content = response.getvalue()
    if file_format != "xlsx":  # compressed
        assert b"mine" in content
        assert b"foreign" not in content
        assert b"old one" not in content
        assert key.secret_hash.encode() not in content
        assert b"old one" in owner.get(LIST, {"format": file_format, "show": "ended"}).getvalue()


def test_list_can_be_saved_as_the_default_view(owner, alice):
    make_expired_key(alice)
    owner.post("/account/lists/views/add/", {"page": "keys:list", "name": "Gone", "query": "show=ended"})
    view = alice.saved_views.get()
    assert "old one" in text(owner.get(view.get_absolute_url()))
    owner.post(f"/account/lists/views/{view.pk}/default/")
    assert f"view={view.pk}" in owner.get(LIST)["Location"]
    assert "old one" in text(owner.get(LIST, follow=True))


def test_ids_and_prefixes_can_be_copied(owner, alice):
    key = issue_key_to(alice)
    shown = text(owner.get(key_url(key)))
    for value, what in ((key.pk, "ID"), (key.prefix, "prefix")):
        assert f'<span class="mono">{value}</span>' in shown
        assert f'Copy<span class="visually-hidden"> {what}</span>' in shown


def test_long_list_is_paginated(owner, alice):
    type(alice).objects.filter(pk=alice.pk).update(rows_per_page=25)
    for number in range(26):
        issue_key_to(alice, f"key {number:02}")
    assert '<a href="?page=2" rel="next">Next</a>' in text(owner.get(LIST))
    assert "key 00" in text(owner.get(LIST, {"page": "2"}))
    assert owner.get(LIST, {"page": "x"}).status_code == 200


def test_detail_page_shows_permissions_and_usage(owner, alice):
    key = issue_key_to(alice, "exporter", permissions=[("read", "/orders/*")], allowed_ips=["192.0.2.0/24"])
    APIKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now(), last_used_ip="192.0.2.9")
    event(key)
    shown = text(owner.get(key_url(key)))
    for part in ("exporter", "read /orders/*", "192.0.2.0/24", "192.0.2.9", "1 request in 30 days", str(key.pk)):
        assert part in shown


def test_edit_changes_name_permissions_and_limit(owner, alice):
    key = issue_key_to(alice)
    data = {"name": "renamed", "allow": "listed", "rate_limit": "7", "rate_period": "60", "allowed_ips": ""}
    response = owner.post(key_url(key, "edit/"), data | picker(("/orders", "read")))
    assert response.status_code == 302
    key.refresh_from_db()
    assert (key.name, key.rate_limit) == ("renamed", 7)
    assert [str(row) for row in key.permissions.all()] == ["read /orders"]


def test_edit_form_shows_current_values(owner, alice):
    key = issue_key_to(alice, permissions=[("read", "/a"), ("delete", "/a"), ("*", "b")], allowed_ips=["10.0.0.0/8"])
    shown = text(owner.get(key_url(key, "edit/")))
    assert 'value="/a"' in shown
    assert 'value="b"' in shown
    assert "10.0.0.0/8" in shown
    assert re.search(r'value="listed"[^>]* checked', shown)
    assert shown.count(" checked") == 4


def test_edit_without_permission_fields_keeps_permissions(owner, alice):
    key = issue_key_to(alice, permissions=[("read", "/a")])
    owner.post(key_url(key, "edit/"), {"name": "renamed"})
    assert [str(row) for row in key.permissions.all()] == ["read /a"]


def test_everything_replaces_listed_permissions(owner, alice):
    key = issue_key_to(alice, permissions=[("read", "/a")])
    owner.post(key_url(key, "edit/"), {"name": "k", "allow": "everything"} | picker())
    assert [str(row) for row in key.permissions.all()] == ["* *"]


def test_rotation_shows_a_new_secret_and_keeps_the_old_one_for_the_grace_period(owner, alice):
    key = issue_key_to(alice)
    old = key.secret_hash
    response = owner.post(key_url(key, "rotate/"), {"grace": "3600", "current": key.shown_as})
    secret = secret_in(response)
    assert "no-store" in response["Cache-Control"]
    assert str(key.pk) not in text(response)
    key.refresh_from_db()
    assert (key.secret_hash, key.previous_hash) == (hash_secret(secret), old)
    assert timedelta(minutes=59) < key.previous_expires_at - timezone.now() <= timedelta(hours=1)
    assert "Previous secret" in text(owner.get(key_url(key)))


def test_reloading_the_response_does_not_rotate_again(owner, alice):
    key = issue_key_to(alice)
    data = {"grace": "0", "current": key.shown_as}
    secret = secret_in(owner.post(key_url(key, "rotate/"), data))
    again = owner.post(key_url(key, "rotate/"), data)
    assert again.status_code == 400
    assert "was already rotated" in text(again)
    assert not SECRET.search(text(again))
    key.refresh_from_db()
    assert key.secret_hash == hash_secret(secret)
    fresh = re.search(r'name="current" value="([^"]+)"', text(again)).group(1)
    assert secret_in(owner.post(key_url(key, "rotate/"), {"grace": "0", "current": fresh})) != secret


@pytest.mark.parametrize("grace", ["", "60", "-1", "2592001", "x"])
def test_invalid_grace_period_is_rejected(owner, alice, grace):
    key = issue_key_to(alice)
    assert owner.post(key_url(key, "rotate/"), {"grace": grace}).status_code == 400
    old = key.secret_hash
    key.refresh_from_db()
    assert key.secret_hash == old


def test_disable_and_enable(owner, alice):
    key = issue_key_to(alice)
    assert "until the key is enabled again" in text(owner.get(key_url(key, "disable/")))
    assert owner.post(key_url(key, "disable/")).status_code == 302
    key.refresh_from_db()
    assert key.state == "disabled"
    assert "disabled" in text(owner.get(key_url(key)))
    owner.get(key_url(key, "enable/"))
    owner.post(key_url(key, "enable/"))
    key.refresh_from_db()
    assert key.state == "active"


def test_revoking_requires_a_reason_and_is_permanent(owner, alice):
    key = issue_key_to(alice)
    assert "permanently" in text(owner.get(key_url(key, "revoke/")))
    assert owner.post(key_url(key, "revoke/"), {"reason": " "}).status_code == 400
    assert owner.post(key_url(key, "revoke/"), {"reason": "r" * 256}).status_code == 400
    assert owner.post(key_url(key, "revoke/"), {"reason": "leaked"}).status_code == 302
    key.refresh_from_db()
    assert (key.state, key.revoked_reason) == ("revoked", "leaked")
    for name, data in (
        ("enable/", {}),
        ("disable/", {}),
        ("rotate/", {"grace": "0"}),
        ("edit/", {"name": "x"}),
        ("expire/", {"expires_at": "2099-01-01"}),
        ("revoke/", {"reason": "again"}),
    ):
        response = owner.post(key_url(key, name), data)
        assert response.status_code == 400
        assert "revoked permanently" in text(response)
    key.refresh_from_db()
    assert (key.state, key.revoked_reason, key.name) == ("revoked", "leaked", "a key")


def test_expiry_can_only_be_brought_forward(owner, alice):
    key = issue_key_to(alice, expires_at=timezone.now() + timedelta(days=100))
    soon = (timezone.now() + timedelta(days=9)).date().isoformat()
    assert owner.post(key_url(key, "expire/"), {"expires_at": soon}).status_code == 302
    key.refresh_from_db()
    assert key.expires_at < timezone.now() + timedelta(days=11)
    later = (timezone.now() + timedelta(days=50)).date().isoformat()
    for day, message in (
        (later, "already expires before that"),
        ("2020-01-01", "in the past"),
        ("", "Choose"),
        ("x", "Enter a day"),
    ):
        response = owner.post(key_url(key, "expire/"), {"expires_at": day})
        assert response.status_code == 400
        assert message in text(response)


def test_other_users_key_looks_like_a_missing_one(owner, bob):
    foreign = issue_key_to(bob, permissions=[("read", "/a")])
    for name in KEY_PAGES:
        for method in (owner.get, owner.post):
            answer = (
                method(key_url(foreign, name), {"name": "mine", "reason": "mine", "grace": "0"})
                if method == owner.post
                else method(key_url(foreign, name))
            )
            missing = method(f"{LIST}{uuid4()}/{name}")
            if name == "" and method == owner.post:
                assert answer.status_code == missing.status_code
                continue
            assert (answer.status_code, missing.status_code) == (404, 404)
            assert strip_ids(answer) == strip_ids(missing)
    foreign.refresh_from_db()
    assert (foreign.name, foreign.state) == ("a key", "active")
    assert KeyPermission.objects.get().resource == "/a"


def strip_ids(response):
    body = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", text(response))
    return re.sub(r'value="[A-Za-z0-9]{64}"|<code class="mono">[0-9a-f]{12}</code>', "", body)


def test_deleted_key_is_404_for_its_owner(owner, alice):
    key = issue_key_to(alice)
    key.delete()
    assert owner.get(key_url(key)).status_code == 404


@pytest.mark.parametrize("invalid", ["1", "x" * 50, "9223372036854775808", "%00"])
def test_invalid_id_is_not_found(owner, invalid):
    assert owner.get(f"{LIST}{invalid}/").status_code in {400, 404}


def test_name_with_markup_is_escaped_everywhere(owner, alice):
    key = issue_key_to(alice, "<i>x</i>")
    for url in (LIST, *(key_url(key, name) for name in KEY_PAGES)):
        shown = text(owner.get(url))
        assert "<i>x</i>" not in shown
        assert "&lt;i&gt;x&lt;/i&gt;" in shown
