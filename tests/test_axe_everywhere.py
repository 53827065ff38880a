"""Check every page with axe-core in light mode, its colors in dark mode too, and its width on a phone."""

from __future__ import annotations

import re

import pytest

from accounts.models import User
from tests.chromium import faults_of
from tests.test_urls_access import PEOPLE, expected, filled, world  # noqa: F401  (world is a fixture)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# URLs that aren't pages, and history pages, which share one template: only the one of users is checked.
NO_PAGE = re.compile(
    r"export[^/]*/?$|download/$|jsi18n|openapi|^livez|^readyz|^metrics|^authz|^api/|^admin/(?!accounts/user/).*/history/$"
)
OWN_KEY = ("", "edit/", "disable/", "expire/", "revoke/", "rotate/")
MORE = {
    "visitor": ["/nowhere/"],
    "holder": ["/users/"],
    "superuser": ["/users/?q=nobody", "/admin/search/?q=o", "/admin/tiers/tier/?q=nothing"],
}


def paths_for(person, world):  # noqa: F811
    """The pages to open as this kind of user: those that no earlier kind can open."""
    if person == "owner":
        return [f"/account/keys/{world['apikey']}/{step}" for step in OWN_KEY]
    firsts = {pattern: PEOPLE[got.index("ok")] for pattern, got in expected().items() if "ok" in got}
    patterns = [pattern for pattern, first in firsts.items() if first == person and not NO_PAGE.search(pattern)]
    return [filled(pattern, world) for pattern in patterns] + MORE.get(person, [])


@pytest.mark.parametrize("person", [*PEOPLE, "owner"])
def test_axe_finds_no_fault_on_any_page(visit, world, person):  # noqa: F811
    paths = paths_for(person, world)
    user = User.objects.filter(username={"superuser": "sue"}.get(person, person)).first()
    page, faults = visit(user), []
    for path in paths:
        page.goto(path)
        faults += faults_of(page)
    assert len(paths) > 4
    assert faults == [], "\n".join(faults)
