"""Every page of the product, once, before axe-core: in light, and its colours in dark as well."""

from __future__ import annotations

import re

import pytest

from accounts.models import User
from tests.chromium import axe_findings
from tests.test_urls_access import PEOPLE, expected, filled, world  # noqa: F401  (world is a fixture)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

NO_PAGE = re.compile(r"export(\.csv)?/?$|download/$|jsi18n|openapi|^livez|^readyz|^authz|^api/")
OWN_KEY = ("", "edit/", "disable/", "expire/", "revoke/", "rotate/")


def visits(world):  # noqa: F811
    """Which pages to open as whom: each as the first kind of person that gets it."""
    found = {person: [] for person in (*PEOPLE, "owner")}
    for pattern, answers in expected().items():
        if "ok" in answers and not NO_PAGE.search(pattern):
            found[PEOPLE[answers.index("ok")]].append(filled(pattern, world))
    found["owner"] = [f"/account/keys/{world['apikey']}/{step}" for step in OWN_KEY]
    found["visitor"].append("/nowhere/")
    found["holder"].append("/users/")
    found["superuser"] += ["/users/?q=nobody", "/admin/search/?q=o", "/admin/tiers/tier/?q=nothing"]
    return found


def findings(page, path):
    """What axe finds on the page in light, and of its colours in dark."""
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    page.goto(path)
    found = axe_findings(page)
    page.emulate_media(color_scheme="dark")
    return found + [f"dark: {fault}" for fault in axe_findings(page, only=["color-contrast"])]


def test_axe_finds_no_fault_on_any_page(visit, world):  # noqa: F811
    faults = []
    for person, paths in visits(world).items():
        user = User.objects.filter(username={"superuser": "sue"}.get(person, person)).first()
        with visit(user) as page:
            faults += [f"{path}: {fault}" for path in paths for fault in findings(page, path)]
    assert faults == [], "\n".join(faults)
