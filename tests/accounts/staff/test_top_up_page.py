"""/users/<pk>/top-up/: staff top up a user's prepaid rate limit."""

from __future__ import annotations

import pytest

from ratelimits.models import RateLimit
from tests.accounts.people import signed_in
from tests.rows import make_staff


@pytest.fixture
def prepaid(alice):
    return RateLimit.objects.create(
        user=alice, name="prepaid", path="/*", window="total", unit="microcents", limit=10**8
    )


@pytest.fixture
def url(alice):
    return f"/users/{alice.pk}/top-up/"


def test_staff_can_top_up_a_prepaid_limit(staff_client, alice, prepaid, url):
    assert url in staff_client.get(f"/users/{alice.pk}/").content.decode()
    page = staff_client.get(f"{url}?limit={prepaid.pk}").content.decode()
    assert "prepaid: $1.00 in total" in page
    response = staff_client.post(url, {"limit": prepaid.pk, "amount": "50000000"}, follow=True)
    assert "Rate limit “prepaid” topped up: $1.50 in total." in response.content.decode()
    prepaid.refresh_from_db()
    assert prepaid.limit == 150_000_000


@pytest.mark.parametrize(
    ("amount", "error"),
    [
        ("-5", "Enter an amount of 1 or more."),
        ("0", "Enter an amount of 1 or more."),
        ("1.5", "Enter a whole number."),
        (str(2**63), "Enter a smaller amount."),
        (str(2**63 - 1), "enter an amount up to 999,999,900,000,000"),
        (str(10**15), "enter an amount up to 999,999,899,999,999."),
    ],
)
def test_invalid_amounts_are_field_errors_and_are_kept(staff_client, prepaid, url, amount, error):
    page = staff_client.post(url, {"limit": prepaid.pk, "amount": amount}).content.decode()
    assert error.split("999,999,900")[0] in page
    assert f'value="{amount}"' in page
    prepaid.refresh_from_db()
    assert prepaid.limit == 10**8


def test_another_users_limit_cannot_be_chosen(staff_client, bob, prepaid, url):
    other = RateLimit.objects.create(user=bob, name="bobs", path="/*", window="total", limit=5)
    page = staff_client.post(url, {"limit": other.pk, "amount": "5"}).content.decode()
    assert "Choose a rate limit from the list." in page
    other.refresh_from_db()
    assert other.limit == 5


def test_the_page_links_to_create_a_prepaid_limit(staff_client, alice, url):
    assert url not in staff_client.get(f"/users/{alice.pk}/").content.decode()
    page = staff_client.get(url).content.decode()
    assert "has no prepaid rate limit" in page
    assert f"/admin/ratelimits/ratelimit/add/?user={alice.pk}&amp;window=total" in page


def test_topping_up_requires_permission(alice, bob, prepaid, url):
    assert signed_in(make_staff("viewer", "accounts.view_user")).get(url).status_code == 403
    changer = make_staff("changer", "accounts.view_user", "ratelimits.change_ratelimit", "ratelimits.view_ratelimit")
    page = signed_in(changer).get(f"/users/{bob.pk}/top-up/")
    assert (page.status_code, "Create rate limit" in page.content.decode()) == (200, False)
    staff = make_staff("other")
    assert signed_in(changer).get(f"/users/{staff.pk}/top-up/").status_code == 403
