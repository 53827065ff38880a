"""Editing a tier's access on its page. New tiers have access to everything by default."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry

from config.base.history import describe
from tests.pages import fields_of, opened, text_of
from tests.rows import make_staff
from tiers.forms import TierForm
from tiers.models import Tier, TierAccess

pytestmark = pytest.mark.django_db
ADD = "/admin/tiers/tier/add/"


def url(tier):
    return f"/admin/tiers/tier/{tier.pk}/change/"


def row(number, resource, *actions, host=""):
    start = f"access-{number}-"
    return {f"{start}resource": resource, f"{start}host": host, f"{start}actions": list(actions)}


def access(tier):
    return {str(rule) for rule in tier.access.all()}


def test_a_tier_created_in_the_admin_has_access_to_everything(staff_client):
    form = opened(staff_client, ADD)
    assert form["allow"] == ["everything"]
    staff_client.post(ADD, form | {"name": "gold"})
    assert access(Tier.objects.get(name="gold")) == {"* *"}


def test_a_form_without_access_creates_a_tier_with_everything(staff_client):
    staff_client.post(
        ADD, {"name": "gold", "description": "", "rate_limits-TOTAL_FORMS": 0, "rate_limits-INITIAL_FORMS": 0}
    )
    assert access(Tier.objects.get(name="gold")) == {"* *"}


def test_a_new_tier_can_have_listed_permissions(staff_client):
    staff_client.post(
        ADD, opened(staff_client, ADD) | {"name": "gold", "allow": "listed"} | row(0, "/orders/*", "read")
    )
    assert access(Tier.objects.get(name="gold")) == {"read /orders/*"}
    values = describe(LogEntry.objects.get()).values
    assert {"field": "access", "old": "everything", "new": "read /orders/*"} in values


def test_changes_are_recorded(staff_client, free):
    form = opened(staff_client, url(free))
    changes = {"allow": "listed"} | row(0, "/orders/*", "read", host="API.example.com")
    assert staff_client.post(url(free), form | changes).status_code == 302
    assert access(free) == {"read /orders/* at api.example.com"}
    change = {"field": "access", "old": "everything", "new": "read /orders/* at api.example.com"}
    assert describe(LogEntry.objects.get()).values == [change]
    again = opened(staff_client, url(free))
    assert again["allow"] == ["listed"]
    assert again["access-0-actions"] == ["read"]


def test_a_change_between_validation_and_saving_is_validated_again(staff_client, free, monkeypatch):
    form = opened(staff_client, url(free)) | {"description": "Now with a description"}
    lock_row, calls = TierForm.lock_row, []

    def change_then_lock(self):
        calls.append(1)
        if len(calls) == 1:
            free.access.all().delete()
            TierAccess.objects.create(tier=free, resource="/new", action="read")
        return lock_row(self)

    monkeypatch.setattr(TierForm, "lock_row", change_then_lock)
    assert staff_client.post(url(free), form).status_code == 302
    # The first attempt was rolled back, together with the change made in its transaction.
    assert len(calls) == 2
    free.refresh_from_db()
    assert free.description == "Now with a description"


def test_a_tier_can_allow_nothing(staff_client, free):
    staff_client.post(url(free), opened(staff_client, url(free)) | {"allow": "nothing"})
    assert access(free) == set()
    assert opened(staff_client, url(free))["allow"] == ["nothing"]


def test_unchanged_form_changes_nothing(staff_client, free):
    staff_client.post(url(free), opened(staff_client, url(free)))
    assert access(free) == {"* *"}
    assert not LogEntry.objects.exists()


def test_a_form_without_access_keeps_it(staff_client, free):
    data = {"name": "free", "description": "For all.", "rate_limits-TOTAL_FORMS": 0, "rate_limits-INITIAL_FORMS": 0}
    assert staff_client.post(url(free), data).status_code == 302
    assert access(free) == {"* *"}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        (row(0, "/orders", "read", host="https://api.example.com"), "Remove the scheme"),
        (row(0, "/orders", "read", host="api.example.com:80"), "Remove the port"),
        (row(0, "/orders", "read", host="a.*.example.com"), "Use * only as the first label"),
        (row(0, "/a/*/b", "read"), "Use * only as the last segment"),
        (row(0, "/orders", "list"), "Choose one of the actions shown."),
        (row(0, "", "read"), "Enter a path such as /orders/*"),
        (row(0, "/orders"), "Select at least one action for /orders"),
        (row(0, "/" + "a" * 300, "read"), "at most 255"),
        ({}, "List at least one permission."),
        (row(0, "/orders", "read") | {"allow": "everything"}, "chose “Everything”. Choose one of the two."),
        (row(0, "/orders", "read") | {"allow": "nothing"}, "chose “Nothing”. Choose one of the two."),
        ({"allow": "some"}, "Select a valid choice"),
    ],
)
def test_invalid_values_are_errors_and_are_kept(staff_client, free, changes, error):
    response = staff_client.post(url(free), opened(staff_client, url(free)) | {"allow": "listed"} | changes)
    assert response.status_code == 200
    assert error in text_of(response)
    sent = fields_of(response.content.decode(), "access-0-resource")
    assert sent["access-0-resource"] == [changes.get("access-0-resource", "")]
    assert access(free) == {"* *"}


def test_changing_access_requires_the_permission_to_change_tiers(client, free):
    form = {"name": "free", "description": "", "allow": "listed", "access-TOTAL_FORMS": 1, "access-INITIAL_FORMS": 0}
    form |= {"rate_limits-TOTAL_FORMS": 0, "rate_limits-INITIAL_FORMS": 0} | row(0, "/orders", "read")
    client.force_login(make_staff("vera", "tiers.view_tier"))
    page = client.get(url(free))
    assert "access-0-resource" not in page.text
    assert "everything" in page.text
    assert client.post(url(free), form).status_code == 403
    client.force_login(make_staff("chuck", "tiers.view_tier", "tiers.change_tier"))
    client.post(url(free), form)
    assert access(free) == {"read /orders"}


def test_changes_by_another_user_are_kept_or_reported_as_conflict(staff_client, free):
    form = opened(staff_client, url(free))
    TierAccess.objects.update(resource="/elsewhere")
    staff_client.post(url(free), form | {"description": "New."})
    assert access(free) == {"* /elsewhere"}
    response = staff_client.post(url(free), form | {"allow": "listed"} | row(0, "/mine", "read"))
    assert "changed this to “* /elsewhere”" in text_of(response)
    again = fields_of(response.content.decode(), "access-0-resource")
    assert again["access-0-resource"] == ["/mine"]
    staff_client.post(url(free), again)
    assert access(free) == {"read /mine"}
