"""How many wrong passwords are allowed, from where, and that others aren't affected."""

from __future__ import annotations

from django.test import Client, RequestFactory

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


def budgets_of(user):
    request = RequestFactory().get("/")
    return throttle.wrong_passwords(request, user), throttle.wrong_passwords_of_anyone(request)


def tries(client, name, count, **extra):
    return [sign_in(client, name, "wrong", **extra).status_code for _ in range(count)]


def test_ten_wrong_passwords_are_rejected_by_the_sixth(client, alice, any_store):
    verified(alice)
    assert tries(client, "alice", 10) == [200] * 5 + [429] * 5
    response = sign_in(client, "alice")
    assert response.status_code == 429
    assert not is_signed_in(client)


def test_the_refusal_says_when_to_try_again(client, alice):
    tries(client, "alice", 5)
    response = sign_in(client, "alice")
    seconds = int(response["Retry-After"])
    assert 170 < seconds <= 180
    assert "Too many attempts. Try again in 3 minutes." in response.content.decode()
    assert response.context["form"]["login"].value() == "alice"


def test_all_spellings_of_a_name_share_one_counter(client, alice):
    verified(alice)
    for name in ("alice", "ALICE", " Alice", "ａｌｉｃｅ", "aLiCe"):
        assert sign_in(client, name, "wrong").status_code == 200
    assert sign_in(client, "alice").status_code == 429


def test_an_unknown_name_is_throttled_like_a_known_one(client, db):
    assert tries(client, "nobody", 6) == [200] * 5 + [429]


def test_a_spray_of_names_from_one_address_is_throttled(client, alice):
    answers = [sign_in(client, f"name_{number}", "wrong").status_code for number in range(20)]
    assert answers == [200] * 15 + [429] * 5
    assert sign_in(client, "alice").status_code == 429


def test_who_is_right_at_last_begins_anew(client, alice):
    verified(alice)
    for _ in range(3):
        tries(client, "alice", 4)
        sign_in(client, "alice")
        assert is_signed_in(client)
        client.post("/accounts/logout/")


def test_being_right_for_one_name_does_not_pay_for_a_spray(client, alice):
    verified(alice)
    answers = []
    for number in range(20):
        answers.append(sign_in(client, f"name_{number}", "wrong").status_code)
        sign_in(client, "alice")
        client.post("/accounts/logout/")
    assert answers.count(429) == 5


def test_many_people_sign_in_from_one_address(client, free):
    for number in range(20):
        make_verified(f"person_{number}")
        sign_in(client, f"person_{number}")
        assert is_signed_in(client)
        client.post("/accounts/logout/")


def test_a_rotated_forwarded_header_changes_nothing_without_a_trusted_proxy(client, alice):
    answers = [
        sign_in(client, "alice", "wrong", headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code
        for number in range(7)
    ]
    assert answers == [200] * 5 + [429] * 2


def test_a_header_forged_in_front_of_the_proxys_changes_nothing_either(client, alice, settings):
    settings.TRUSTED_PROXY_HOPS = 1
    answers = [
        sign_in(client, "alice", "wrong", headers={"X-Forwarded-For": f"203.0.113.{number}, 198.51.100.7"}).status_code
        for number in range(7)
    ]
    assert answers == [200] * 5 + [429] * 2


def test_one_clients_lockout_does_not_hit_another_behind_a_trusted_proxy(client, alice, settings):
    verified(alice)
    settings.TRUSTED_PROXY_HOPS = 1
    tries(client, "alice", 6, headers={"X-Forwarded-For": "203.0.113.1"})
    assert sign_in(client, "alice", headers={"X-Forwarded-For": "203.0.113.1"}).status_code == 429
    other = Client()
    assert sign_in(other, "alice", headers={"X-Forwarded-For": "203.0.113.2"}).status_code == 302
    assert is_signed_in(other)


def test_an_ipv6_network_is_one_address(client, alice):
    answers = [sign_in(client, "alice", "wrong", REMOTE_ADDR=f"2001:db8::{number}").status_code for number in range(6)]
    assert answers == [200] * 5 + [429]
    assert sign_in(client, "alice", "wrong", REMOTE_ADDR="2001:db8:0:1::1").status_code == 200


def test_a_peer_without_an_address_is_counted_too(client, alice):
    assert [sign_in(client, "alice", "wrong", REMOTE_ADDR="").status_code for _ in range(6)] == [200] * 5 + [429]


def test_without_its_store_sign_in_refuses_and_says_so(client, alice, settings):
    verified(alice)
    settings.RATE_LIMIT_STORE, settings.REDIS_URL = "redis", CLOSED_PORT
    settings.RATE_LIMITER_ENABLED, settings.RATE_LIMIT_FAIL_OPEN = False, True  # for API limits only
    forget_limiter()
    response = sign_in(client, "alice")
    assert response.status_code == 429
    assert "available right now" in response.content.decode()
    assert not is_signed_in(client)


def test_a_store_that_goes_away_after_the_password_does_not_matter(alice, settings):
    settings.RATE_LIMIT_STORE, settings.REDIS_URL = "redis", CLOSED_PORT
    forget_limiter()
    throttle.forgive(throttle.wrong_codes(alice))


def test_the_switch_for_api_limits_does_not_switch_the_throttle_off(client, alice, settings):
    settings.RATE_LIMITER_ENABLED = False
    assert tries(client, "alice", 6) == [200] * 5 + [429]


def test_confirming_the_password_shares_the_counter_of_sign_in(client, alice):
    client.force_login(alice)
    answers = [client.post("/accounts/reauthenticate/", {"password": "wrong"}).status_code for _ in range(6)]
    assert answers == [200] * 5 + [429]
    assert sign_in(Client(), "alice").status_code == 429


def test_the_password_is_changed_five_times_an_hour(client, alice):
    client.force_login(alice)
    form = {"oldpassword": "wrong", "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}
    answers = [client.post("/accounts/password/change/", form).status_code for _ in range(5)]
    response = client.post("/accounts/password/change/", form | {"oldpassword": PASSWORD})
    assert answers == [200] * 5
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 600
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_resets_for_one_address_are_throttled_whether_it_is_known_or_not(client, alice, mailoutbox):
    for email in ("alice@example.com", "nobody@example.com"):
        answers = [client.post("/accounts/password/reset/", {"email": email}).status_code for _ in range(6)]
        assert answers == [302] * 5 + [429]
    assert len(mailoutbox) == 10


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


def test_trying_out_which_usernames_are_taken_is_throttled(client, alice):
    form = {"name": "Dora", "username": "alice", "email": "dora@example.com", "password1": PASSWORD}
    answers = [client.post("/accounts/signup/", form).status_code for _ in range(31)]
    assert answers == [200] * 30 + [429]


def test_setting_a_first_password_is_throttled(client, alice):
    alice.set_unusable_password()
    alice.save(update_fields=["password"])
    client.force_login(alice)
    answers = [client.post("/accounts/password/set/").status_code for _ in range(6)]
    assert answers == [302] * 5 + [429]


def test_signing_in_sends_the_verification_email_again_a_few_times_only(client, alice, mailoutbox):
    unverified(alice)
    for _ in range(8):
        assert sign_in(client, "alice")["Location"] == "/accounts/confirm-email/"
    assert len(mailoutbox) == 5


def test_keys_of_counters_hold_no_names(rf):
    key = throttle.wrong_passwords(rf.get("/"), "alice@example.com").key
    assert "alice" not in key
    assert len(throttle.wrong_passwords(rf.get("/"), "x" * 5000).key) < 100
