"""Check every page with axe-core in light mode, its colors in dark mode too, and its width on a phone."""

from __future__ import annotations

import re

import pytest

from accounts.models import User
from tests.chromium import faults_of
from tests.test_urls_access import ROLES, expected, filled, site  # noqa: F401  (site is a fixture)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# URLs that aren't pages, and history pages except for one, because they share a template.
NOT_CHECKED = re.compile(
    r"export[^/]*/?$|download/$|jsi18n|openapi|^livez|^readyz|^metrics|^authz|^api/|^admin/(?!accounts/user/).*/history/$"
)
OWN_KEY = ("", "edit/", "disable/", "expire/", "revoke/", "rotate/")
MORE = {
    "visitor": ["/nowhere/"],
    "user": ["/users/"],
    "superuser": ["/users/?q=nobody", "/admin/search/?q=o", "/admin/tiers/tier/?q=nothing"],
}


def paths_for(role, site):  # noqa: F811
    """The pages to open as this kind of user, which no previous kind can open."""
    if role == "owner":
        return [f"/account/keys/{site['apikey']}/{step}" for step in OWN_KEY]
    firsts = {pattern: ROLES[got.index("ok")] for pattern, got in expected().items() if "ok" in got}
    patterns = [pattern for pattern, first in firsts.items() if first == role and not NOT_CHECKED.search(pattern)]
    return [filled(pattern, site) for pattern in patterns] + MORE.get(role, [])


@pytest.mark.parametrize("role", [*ROLES, "owner"])
def test_axe_finds_no_violations(visit, site, role):  # noqa: F811
    paths = paths_for(role, site)
    user = User.objects.filter(username={"superuser": "sue"}.get(role, role)).first()
    page, faults = visit(user), []
    for path in paths:
        page.goto(path)
        faults += faults_of(page)
    assert len(paths) > 4
    assert faults == [], "\n".join(faults)
