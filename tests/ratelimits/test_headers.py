from __future__ import annotations

import datetime as dt
import json

import http_sfv
import pytest

from ratelimits.budgets import Budget, microseconds
from ratelimits.headers import quota_exceeded, rate_limit_headers

NOON = microseconds(dt.datetime(2026, 2, 14, 12, tzinfo=dt.UTC))


def parsed(text):
    found = http_sfv.List()
    found.parse(text.encode())
    return [(item.value, dict(item.params)) for item in found]


@pytest.mark.parametrize("window", ["rolling", "fixed", "week", "month"])
def test_headers_are_correct_for_every_request_up_to_the_limit(memory, db, window):
    budget, w = Budget("k", 5, 60, window, "five"), {"week": 7 * 86400, "month": 28 * 86400}.get(window, 60)
    for used in range(1, 6):
        outcome = memory.hit([budget], clock=NOON)
        headers = rate_limit_headers(outcome)
        assert parsed(headers["RateLimit-Policy"]) == [("five", {"q": 5, "w": w})]
        [(name, standing)] = parsed(headers["RateLimit"])
        assert (name, standing["r"]) == ("five", 5 - used)
        later = NOON + standing["t"] * 1_000_000
        assert memory.peek([budget], clock=later).states[0].remaining == 5
        assert memory.peek([budget], clock=later - 1_000_000).states[0].remaining < 5
        assert headers["X-RateLimit-Limit"] == "5"
        assert headers["X-RateLimit-Remaining"] == str(5 - used)
        assert headers["X-RateLimit-Reset"] == str(later // 1_000_000)
        assert "Retry-After" not in headers
    headers = rate_limit_headers(memory.hit([budget], clock=NOON))
    assert parsed(headers["RateLimit"])[0][1]["r"] == 0
    retry = int(headers["Retry-After"])
    assert not memory.peek([budget], clock=NOON + (retry - 1) * 1_000_000).allowed
    assert memory.peek([budget], clock=NOON + retry * 1_000_000).allowed


def test_window_of_a_billing_month_has_its_actual_length(memory, db):
    budget = Budget("k", 5, 60, "month", "five", billing_day=31)
    headers = rate_limit_headers(memory.hit([budget], clock=NOON))
    # From 31 January to 28 February.
    assert parsed(headers["RateLimit-Policy"]) == [("five", {"q": 5, "w": 28 * 86400})]
    assert parsed(headers["RateLimit"]) == [("five", {"r": 4, "t": 27 * 43200})]


def test_total_has_no_window_or_reset(memory, db):
    budget = Budget("k", 1, 60, "total", "prepaid")
    memory.hit([budget], clock=NOON)
    headers = rate_limit_headers(memory.hit([budget], clock=NOON))
    assert parsed(headers["RateLimit-Policy"]) == [("prepaid", {"q": 1})]
    assert parsed(headers["RateLimit"]) == [("prepaid", {"r": 0})]
    assert headers["Retry-After"] == "86400"


def test_the_older_fields_of_a_total_say_that_it_resets_in_2038(memory, db):
    prepaid, minute = Budget("k", 2, 60, "total", "prepaid"), Budget("m", 10, 60, name="minute")
    for remaining in ("1", "0", "0"):
        headers = rate_limit_headers(memory.hit([prepaid, minute], clock=NOON))
        assert [headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")] == [
            "2",
            remaining,
            "2147483647",
        ]


def test_of_equally_tight_budgets_the_one_that_never_resets_is_told(memory, db):
    budgets = [Budget("m", 2, 60, "month", name="month"), Budget("k", 2, 60, "total", "prepaid")]
    assert rate_limit_headers(memory.hit(budgets, clock=NOON))["X-RateLimit-Reset"] == "2147483647"


def test_the_older_fields_tell_a_total_in_tokens_only_if_there_is_nothing_in_requests(memory, db):
    tokens, minute = Budget("k", 2, 60, "total", "t", unit="tokens"), Budget("m", 10, 60, name="minute")
    headers = rate_limit_headers(memory.hit([tokens, minute], clock=NOON))
    assert headers["X-RateLimit-Reset"] == str(NOON // 1_000_000 + 6)
    assert rate_limit_headers(memory.hit([tokens], clock=NOON))["X-RateLimit-Reset"] == "2147483647"


def test_headers_list_all_budgets_and_x_ratelimit_the_tightest(memory, db):
    budgets = [Budget("a", 10, 1, name="burst"), Budget("b", 3, 86400, "fixed", "quota")]
    headers = rate_limit_headers(memory.hit(budgets, clock=NOON))
    assert headers["RateLimit-Policy"] == '"burst";q=10;w=1, "quota";q=3;w=86400'
    assert [(name, figures["r"]) for name, figures in parsed(headers["RateLimit"])] == [("burst", 9), ("quota", 2)]
    assert headers["X-RateLimit-Limit"] == "3"


def test_all_headers_are_exposed_to_browsers(memory, db):
    headers = rate_limit_headers(memory.hit([Budget("a", 1, 60)]))
    exposed = headers.pop("Access-Control-Expose-Headers").split(", ")
    assert set(headers) | {"Retry-After"} == set(exposed)


def test_observed_budget_is_not_in_headers(memory, db):
    observed = Budget("a", 1, 60, name="observed", observe=True)
    assert rate_limit_headers(memory.hit([observed])) == {}
    assert "observed" not in rate_limit_headers(memory.hit([observed, Budget("b", 5, 60)]))["RateLimit"]


def test_no_headers_without_limits(memory, db):
    assert rate_limit_headers(memory.hit([])) == {}


@pytest.mark.parametrize(
    ("name", "expected"),
    [('a"b\\c', 'a"b\\c'), ("größe", "gr??e"), ("a\nb", "a?b"), ("", "limit"), ("x" * 100, "x" * 100)],
)
def test_any_name_gives_a_valid_header(memory, db, name, expected):
    headers = rate_limit_headers(memory.hit([Budget("a", 1, 60, name=name)]))
    assert parsed(headers["RateLimit"])[0][0] == expected
    assert parsed(headers["RateLimit-Policy"])[0][0] == expected


def test_quota_exceeded_response_names_the_policies(memory, db):
    budgets = [
        Budget("a", 1, 60, name="one"),
        Budget("b", 5, 60, name="five"),
        Budget("c", 1, 60, name="o", observe=True),
    ]
    memory.hit(budgets, clock=NOON)
    response = quota_exceeded(memory.hit(budgets, clock=NOON))
    assert (response.status_code, response["Content-Type"]) == (429, "application/problem+json")
    assert (response["Retry-After"], response["Cache-Control"]) == ("60", "no-store")
    body = json.loads(response.content)
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert (body["status"], body["violated-policies"]) == (429, ["one"])
    assert body["detail"] == "Try again in 60 seconds."
