"""How much of their rate limits users have used, in the list of users and on the limited page."""

from __future__ import annotations

import re

import pytest

from accounts.models import User
from accounts.staff.headroom import near_quota, tightest
from ratelimits.limiter import limiter
from ratelimits.models import RateLimit
from ratelimits.stores import StoreUnavailable
from tests.conftest import make_user
from tests.pages import text_of
from tests.rows import make_key, make_limit, make_usage

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def default_limit(settings):
    settings.DEFAULT_RATE_LIMIT_LIMIT, settings.DEFAULT_RATE_LIMIT_PERIOD = 100, 86_400


def spend(user, limit, times):
    for _ in range(times):
        assert limiter().hit([limit.budget(f"user:{user.pk}", user.billing_day)]).allowed


def usage_column(client):
    """The last cell of each row in the list of users, by username."""
    page = client.get("/users/?sort=username").content.decode()
    rows = re.findall(r'<span class="sub mono">(\w+)</span>.*?</tr>', page, re.DOTALL)
    cells = [row.rsplit('<td class="num">', 1)[1] for row in page.split("</tr>") if "sub mono" in row]
    return dict(zip(rows, (" ".join(re.sub("<[^>]+>", "", cell).split()) for cell in cells), strict=True))


def test_the_list_shows_usage_of_the_tightest_limit(staff_client, alice, bob, free):
    wide, tight = make_limit(free, "/a", limit=100, window="fixed", period=86_400), make_limit(free, "/b", limit=4)
    spend(alice, wide, 30)
    spend(alice, tight, 2)
    spend(bob, wide, 30)
    found = usage_column(staff_client)
    assert (found["alice"], found["bob"]) == ("50%", "30%")
    assert found["sue"] == "0%"
    assert f"{tight.name}: 2 of 4 per minute remaining (/b)" in text_of(staff_client.get("/users/"))


def test_used_up_limits_are_red_and_nearly_used_up_ones_amber(staff_client, alice, bob, free):
    limit = make_limit(free, limit=5, window="fixed", period=86_400)
    spend(alice, limit, 5)
    spend(bob, limit, 4)
    page = text_of(staff_client.get("/users/"))
    assert re.search(r'badge-danger" title="[^"]*">100%', page)
    assert re.search(r'badge-warn" title="[^"]*">80%', page)


def test_limits_replaced_by_own_limits_are_ignored(alice, free):
    spend(alice, make_limit(free, "/a", limit=2, window="fixed", period=86_400), 2)
    assert tightest([alice])[alice.pk].percent == 100
    own = RateLimit.objects.create(user=alice, path="/a", limit=10, window="fixed", period=86_400)
    spend(alice, own, 3)
    assert tightest([alice])[alice.pk].percent == 30


def test_observe_only_limits_are_ignored(alice, free):
    spend(alice, make_limit(free, "/a", limit=2, window="fixed", period=86_400, mode="observe"), 2)
    assert tightest([alice])[alice.pk].percent == 0


def test_the_default_limit_applies_without_a_tier(settings, free):
    olga = make_user("olga")
    found = tightest([olga])[olga.pk]
    assert (found.limit, found.percent) == (None, 0)
    assert found.words == "default: 100 of 100 per day remaining (everything else)"


def test_usage_is_unknown_while_the_store_is_unavailable(staff_client, alice, monkeypatch):
    def unavailable(*_, **__):
        raise StoreUnavailable("gone")

    monkeypatch.setattr(limiter().store, "peek", unavailable)
    assert usage_column(staff_client)["alice"] == "–"


def test_users_near_a_quota_are_listed_by_usage(staff_client, alice, bob, free):
    quota = make_limit(free, "/*", name="monthly", limit=10, window="month", overall=True)
    minute = make_limit(free, "/a", limit=2)
    carol, dave = make_user("carol", tier=free), make_user("dave", tier=free)
    for user, times in ((alice, 8), (bob, 10), (carol, 7), (dave, 0)):
        spend(user, quota, times)
        make_usage(make_key(user))
    spend(dave, minute, 2)
    assert [(used.user, used.percent) for used in near_quota(User.objects.all())] == [(bob, 100), (alice, 80)]
    page = text_of(staff_client.get("/admin/ratelimits/limited/")).split('id="near"')[1].split("</section>")[0]
    assert re.findall(r'<a href="/users/\d+/">(\w+)</a>', page) == ["bob", "alice"]
    assert "monthly" in page
    items = staff_client.get("/admin/").context["attention"]
    assert ("2 users used 80% or more of a quota.", "/admin/ratelimits/limited/#near") in [item[:2] for item in items]


def test_a_prepaid_total_never_resets(staff_client, alice):
    total = RateLimit.objects.create(user=alice, path="/*", limit=1, window="total", period=2_678_400)
    spend(alice, total, 1)
    make_usage(make_key(alice))
    page = text_of(staff_client.get("/admin/ratelimits/limited/")).split('id="near"')[1]
    assert "never" in page.split("</section>")[0]


def test_the_page_says_so_if_no_user_is_near_a_quota(staff_client):
    assert "Nobody used 80% or more of a quota" in text_of(staff_client.get("/admin/ratelimits/limited/"))
