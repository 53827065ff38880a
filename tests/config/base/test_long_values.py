"""Lists with the longest names and paths are as wide as the page, and their titles take one line."""

from __future__ import annotations

import pytest

from accounts.models import User
from apikeys.models import APIKey
from tests.accounts.people import make_event
from tests.chromium import is_wider_than_a_phone
from tests.conftest import make_user
from tests.rows import make_key, make_limit
from tiers.models import Tier

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LISTS = (
    "/users/", "/admin/tiers/tier/", "/admin/ratelimits/ratelimit/", "/admin/apikeys/apikey/", "/admin/usage/requests/",
    "/admin/usage/", "/admin/apikeys/hygiene/", "/admin/admin/logentry/", "/admin/search/?q=nnn", "/account/keys/",
    "/account/usage/requests/",
)  # fmt: skip
TITLE = "document.querySelector('.page-head').getBoundingClientRect().height"
IS_WIDER = "document.documentElement.scrollWidth > innerWidth"


@pytest.fixture
def somebody(sue):
    tier = Tier.objects.create(name="N" * 100, description="N" * 200)
    make_limit(tier, "/" + "n" * 200)
    for user in (sue, make_user("n" * 60, tier=tier)):
        User.objects.filter(pk=user.pk).update(name="N" * 100)
        key = make_key(user)
        APIKey.objects.filter(pk=key.pk).update(name="N" * 100)
        make_event(key, endpoint="/" + "n" * 254, ip_address="2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff")
    return sue


def test_no_list_is_wider_than_the_page(visit, somebody):
    page = visit(somebody)
    faults = []
    for path in LISTS:
        page.goto(path)
        for width in (1280, 1200, 768):
            page.set_viewport_size({"width": width, "height": 900})
            if page.evaluate(IS_WIDER):
                faults.append(f"{path} at {width}")
        page.set_viewport_size({"width": 1280, "height": 900})
        if page.evaluate(TITLE) > 40:
            faults.append(f"the title of {path}")
        if is_wider_than_a_phone(page):
            faults.append(f"{path} on a phone")
    assert not faults, faults


def test_a_menu_has_the_less_frequent_links_of_a_title(visit, somebody):
    page = visit(somebody, javascript=False)
    for path, link in (("/users/", "Import users"), ("/admin/apikeys/apikey/", "Hygiene")):
        page.goto(path)
        assert page.get_by_role("link", name=link).count() == 0
        page.locator("summary", has_text="More").click()
        page.get_by_role("link", name=link).click()
        assert page.url.endswith(("/import/", "/hygiene/"))
