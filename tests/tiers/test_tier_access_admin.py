"""The tier's page edits its access list; a new tier starts with everything."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry

from config.base.history import describe
from tests.rows import make_staff
from tiers.models import Tier, TierAccess

pytestmark = pytest.mark.django_db


def url(tier):
    return f"/admin/tiers/tier/{tier.pk}/change/"


def form(tier, *rules, **changes):
    """The page's data with these rules (action, resource, host) after those that the tier has."""
    rows = list(tier.access.order_by("pk"))
    data = {"name": tier.name, "description": "", "access-TOTAL_FORMS": len(rows) + len(rules)}
    data["access-INITIAL_FORMS"] = len(rows)
    cells = [(row.pk, row.action, row.resource, row.host) for row in rows] + [("", *rule) for rule in rules]
    for number, (pk, action, resource, host) in enumerate(cells):
        values = {"id": pk, "tier": tier.pk, "action": action, "resource": resource, "host": host}
        data |= {f"access-{number}-{name}": value for name, value in values.items()}
    return data | changes


def access(tier):
    return {str(rule) for rule in tier.access.all()}


def test_a_tier_made_in_the_admin_has_access_to_everything(staff_client):
    page = staff_client.get("/admin/tiers/tier/add/")
    assert "access-TOTAL_FORMS" not in page.text
    staff_client.post("/admin/tiers/tier/add/", {"name": "gold", "description": ""})
    assert access(Tier.objects.get(name="gold")) == {"* *"}


def test_rules_are_added_and_removed_and_stand_in_the_history(staff_client, free):
    data = form(free, ("read", "/orders/*", "API.example.com"), **{"access-0-DELETE": "on"})
    assert staff_client.post(url(free), data).status_code == 302
    assert access(free) == {"read /orders/* at api.example.com"}
    note = describe(LogEntry.objects.get()).summary
    assert "Added access rule “read /orders/* at api.example.com”." in note
    assert "Removed access rule “* *”." in note


def test_without_the_table_the_list_stays(staff_client, free):
    assert staff_client.post(url(free), {"name": "free", "description": "For all."}).status_code == 302
    assert access(free) == {"* *"}


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (("read", "/orders", "https://api.example.com"), "Remove the scheme"),
        (("read", "/orders", "api.example.com:80"), "Remove the port"),
        (("read", "/orders", "a.*.example.com"), "Use * only as the first label"),
        (("read", "/a/*/b", ""), "Use * only as the last segment"),
        (("list", "/orders", ""), "Select a valid choice"),
        (("*", "*", ""), "duplicate"),
        (("*", "", ""), "This field is required"),
        (("read", "/" + "a" * 300, ""), "at most 255"),
    ],
)
def test_what_is_wrong_is_told_and_kept(staff_client, free, rule, error):
    response = staff_client.post(url(free), form(free, rule))
    assert response.status_code == 200
    assert error in response.text
    assert access(free) == {"* *"}


def test_who_may_change_the_tier_may_change_its_access(client, free):
    client.force_login(make_staff("vera", "tiers.view_tier"))
    page = client.get(url(free))
    assert "access-0-resource" not in page.text
    assert "Everything" in page.text
    assert client.post(url(free), form(free, ("read", "/orders", ""))).status_code == 403
    client.force_login(make_staff("chuck", "tiers.view_tier", "tiers.change_tier"))
    client.post(url(free), form(free, ("read", "/orders", "")))
    assert access(free) == {"* *", "read /orders"}


def test_a_rule_that_a_colleague_removed_meanwhile_is_told(staff_client, free):
    page = staff_client.get(url(free))
    opened = page.context["inline_admin_formsets"][0].formset.management_form["_opened"].value()
    data = form(free, **{"access-0-resource": "/changed", "access-_opened": opened})
    TierAccess.objects.all().delete()
    response = staff_client.post(url(free), data)
    assert "removed the row that is now “* /changed”" in response.text
