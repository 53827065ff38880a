"""Throttling of sign-in, sign-up and password reset, by user and by client address."""

from __future__ import annotations

from django.test import Client

from accounts.signin import throttle
from ratelimits.limiter import forget_limiter
from tests.accounts.signin.steps import (
    NEW_PASSWORD,
    PASSWORD,
    is_signed_in,
    make_verified,
    sign_in,
    unverified,
    verified,
)

CLOSED_PORT = "redis://127.0.0.1:1/0"


def wrong_sign_ins(client, name, count, **extra):
    return [sign_in(client, name, "wrong", **extra).status_code for _ in range(count)]


def test_sign_in_is_throttled_after_five_wrong_passwords(client, alice, any_store):
    verified(alice)
    assert wrong_sign_ins(client, "alice", 10) == [200] * 5 + [429] * 5
    response = sign_in(client, "alice")
    assert response.status_code == 429
    assert not is_signed_in(client)


def test_the_error_says_when_to_try_again(client, alice):
    wrong_sign_ins(client, "alice", 5)
    response = sign_in(client, "alice")
    seconds = int(response["Retry-After"])
    assert 170 < seconds <= 180
    assert "Too many attempts. Try again in 3 minutes." in response.content.decode()
    assert response.context["form"]["login"].value() == "alice"


def test_trying_many_names_from_one_address_is_throttled(client, alice):
    answers = [sign_in(client, f"name_{number}", "wrong").status_code for number in range(20)]
    assert answers == [200] * 15 + [429] * 5
    assert sign_in(client, "alice").status_code == 429


def test_signing_in_resets_the_counter(client, alice):
    verified(alice)
    for _ in range(3):
        wrong_sign_ins(client, "alice", 4)
        sign_in(client, "alice")
        assert is_signed_in(client)
        client.post("/accounts/logout/")


def test_signing_in_does_not_reset_the_counter_for_other_names(client, alice):
    verified(alice)
    answers = []
    for number in range(20):
        answers.append(sign_in(client, f"name_{number}", "wrong").status_code)
        sign_in(client, "alice")
        client.post("/accounts/logout/")
    assert answers.count(429) == 5


def test_many_users_can_sign_in_from_one_address(client, free):
    for number in range(20):
        make_verified(f"person_{number}")
        sign_in(client, f"person_{number}")
        assert is_signed_in(client)
        client.post("/accounts/logout/")


def test_x_forwarded_for_is_ignored_without_a_trusted_proxy(client, alice):
    answers = [
        sign_in(client, "alice", "wrong", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code
        for number in range(7)
    ]
    assert answers == [200] * 5 + [429] * 2


def test_addresses_forged_in_front_of_the_proxys_are_ignored(client, alice, settings):
    settings.TRUSTED_PROXY_HOPS = 1
    answers = [
        sign_in(client, "alice", "wrong", headers={"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7"}).status_code
        for number in range(7)
    ]
    assert answers == [200] * 5 + [429] * 2


def test_clients_behind_a_trusted_proxy_are_throttled_separately(client, alice, settings):
    verified(alice)
    settings.TRUSTED_PROXY_HOPS = 1
    wrong_sign_ins(client, "alice", 6, headers={"X-Forwarded-For": "203.0.113.1"})
    assert sign_in(client, "alice", headers={"X-Forwarded-For": "203.0.113.1"}).status_code == 429
    other = Client()
    assert sign_in(other, "alice", headers={"X-Forwarded-For": "203.0.113.2"}).status_code == 302
    assert is_signed_in(other)


def test_an_ipv6_network_counts_as_one_address(client, alice):
    answers = [sign_in(client, "alice", "wrong", REMOTE_ADDR=f"2001:db8::{number}").status_code for number in range(6)]
    assert answers == [200] * 5 + [429]
    assert sign_in(client, "alice", "wrong", REMOTE_ADDR="2001:db8:0:1::1").status_code == 200


def test_clients_without_an_address_are_throttled(client, alice):
    assert [sign_in(client, "alice", "wrong", REMOTE_ADDR="").status_code for _ in range(6)] == [200] * 5 + [429]


def test_sign_in_is_refused_while_the_store_is_unavailable(client, alice, settings):
    verified(alice)
    settings.RATE_LIMIT_STORE, settings.REDIS_URL = "redis", CLOSED_PORT
    settings.RATE_LIMITER_ENABLED, settings.RATE_LIMIT_FAIL_OPEN = False, True  # only for API rate limits
    forget_limiter()
    response = sign_in(client, "alice")
    assert response.status_code == 429
    assert "available right now" in response.content.decode()
    assert not is_signed_in(client)


def test_resetting_a_counter_ignores_an_unavailable_store(alice, settings):
    settings.RATE_LIMIT_STORE, settings.REDIS_URL = "redis", CLOSED_PORT
    forget_limiter()
    throttle.forgive(throttle.wrong_codes(alice))


def test_turning_off_api_rate_limits_keeps_the_throttle(client, alice, settings):
    settings.RATE_LIMITER_ENABLED = False
    assert wrong_sign_ins(client, "alice", 6) == [200] * 5 + [429]


def test_password_changes_are_limited_to_five_attempts_an_hour(client, alice):
    client.force_login(alice)
    form = {"oldpassword": "wrong", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    answers = [client.post("/accounts/password/change/", form).status_code for _ in range(5)]
    response = client.post("/accounts/password/change/", form | {"oldpassword": PASSWORD})
    assert answers == [200] * 5
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 600
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_resets_from_one_address_are_throttled(client, db):
    answers = [
        client.post("/accounts/password/reset/", {"email": f"n{number}@example.com"}).status_code
        for number in range(21)
    ]
    assert answers == [302] * 20 + [429]


def test_sign_ups_from_one_address_are_throttled(client, free):
    answers = [
        client.post(
            "/accounts/signup/",
            {"name": "Dora", "username": f"dora_{n}", "email": f"dora{n}@example.com", "password1": PASSWORD},
        ).status_code
        for n in range(31)
    ]
    assert answers == [302] * 30 + [429]


def test_probing_for_taken_usernames_is_throttled(client, alice):
    form = {"name": "Dora", "username": "alice", "email": "dora@example.com", "password1": PASSWORD}
    answers = [client.post("/accounts/signup/", form).status_code for _ in range(31)]
    assert answers == [200] * 30 + [429]


def test_setting_a_first_password_is_throttled(client, alice):
    alice.set_unusable_password()
    alice.save(update_fields=["password"])
    client.force_login(alice)
    answers = [client.post("/accounts/password/set/").status_code for _ in range(6)]
    assert answers == [302] * 5 + [429]


def test_signing_in_unverified_sends_at_most_five_emails(client, alice, mailoutbox):
    unverified(alice)
    for _ in range(8):
        assert sign_in(client, "alice")["Location"] == "/accounts/confirm-email/"
    assert len(mailoutbox) == 5


def test_counter_keys_contain_no_names(rf):
    key = throttle.wrong_passwords(rf.get("/"), "alice@example.com").key
    assert "alice" not in key
    assert len(throttle.wrong_passwords(rf.get("/"), "x" * 5000).key) < 100
