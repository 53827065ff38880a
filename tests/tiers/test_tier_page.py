"""A tier's page saves its rate limits, access and key policy together."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from config.base.history import describe
from ratelimits.models import RateLimit
from ratelimits.pages.forms import MAX_ON_PAGE
from tests.accounts.people import signed_in
from tests.pages import fields_of, opened, text_of
from tests.rows import make_limit, make_staff
from tiers.models import Tier

pytestmark = pytest.mark.django_db
ADD = "/admin/tiers/tier/add/"


def url(tier):
    return f"/admin/tiers/tier/{tier.pk}/change/"


def limit(number, path, amount=10, **fields):
    values = {"path": path, "limit": str(amount), **fields}
    return {f"rate_limits-{number}-{name}": value for name, value in values.items()}


def limits(tier):
    return {(row.path, row.limit, row.period) for row in tier.rate_limits.live()}


def errors(response):
    (inline,) = response.context["inline_admin_formsets"]
    return [form.errors for form in inline.formset.forms if form.errors]


def test_a_tier_can_be_created_with_limits_access_and_policy(staff_client):
    form = opened(staff_client, ADD) | {"name": "gold", "max_keys": "5", "max_key_days": "90", "allow": "listed"}
    form |= {"access-0-resource": "/orders/*", "access-0-actions": ["read", "create"]}
    form |= limit(0, "/orders/*", 100, period="1", period_unit="60") | limit(1, "/orders/{id}", 5, method="GET")
    form |= limit(2, "/*", 10_000, window="month", name="monthly")
    response = staff_client.post(ADD, form, follow=True)
    tier = Tier.objects.get(name="gold")
    assert response.redirect_chain == [("/admin/tiers/tier/", 302)]
    assert (tier.max_keys, tier.max_key_days) == (5, 90)
    assert {str(rule) for rule in tier.access.all()} == {"read /orders/*", "create /orders/*"}
    assert limits(tier) == {("/orders/*", 100, 60), ("/orders/{id}", 5, 60), ("/*", 10_000, 2_678_400)}
    entries = {entry.object_repr: describe(entry) for entry in LogEntry.objects.all()}
    assert {change["field"] for change in entries["monthly"].values} >= {"tier", "path", "limit", "window"}
    assert entries["gold"].summary == "Created."
    assert "no longer count" not in text_of(response)


def test_limits_can_be_changed_added_and_deleted(staff_client, pro):
    old = make_limit(pro, "/old", name="old")
    kept = make_limit(pro, "/kept", name="kept")
    form = opened(staff_client, url(pro))
    number = {form[f"rate_limits-{index}-path"][0]: index for index in (0, 1)}
    form |= {f"rate_limits-{number['/old']}-DELETE": "on", f"rate_limits-{number['/kept']}-limit": "77"}
    response = staff_client.post(url(pro), form | limit(2, "/kept/{id}", 3), follow=True)
    assert limits(pro) == {("/kept", 77, 60), ("/kept/{id}", 3, 60)}
    old.refresh_from_db()
    assert old.is_deleted
    assert "Tier" in text_of(response)
    entries = {entry.object_repr: describe(entry) for entry in LogEntry.objects.filter(content_type__model="ratelimit")}
    assert entries["old"].summary == "Deleted."
    assert entries["kept"].values == [{"field": "limit", "old": "10", "new": "77"}]
    note = describe(LogEntry.objects.get(object_id=str(pro.pk), content_type__model="tier")).summary
    assert "Changed rate limit “kept”." in note
    assert "Removed rate limit “old”." in note
    kept.refresh_from_db()


def test_a_new_limit_that_replaces_another_for_some_requests_shows_a_message(staff_client, pro):
    make_limit(pro, "/orders/*", name="all orders")
    form = opened(staff_client, url(pro)) | limit(1, "/orders/{id}", 3)
    assert "no longer count toward /orders/*" in text_of(staff_client.post(url(pro), form, follow=True))


def test_unchanged_form_changes_nothing(staff_client, pro):
    row = make_limit(pro, period=7200, name="kept")
    staff_client.post(url(pro), opened(staff_client, url(pro)))
    again = RateLimit.objects.get(pk=row.pk)
    assert (again.updated_at, again.period) == (row.updated_at, 7200)
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("rows", "field", "error"),
    [
        (limit(0, "orders"), "path", "Start the path with a slash"),
        (limit(0, "/a", 0), "limit", "Enter 1 or more."),
        (limit(0, "/a", "x"), "limit", "Enter a whole number."),
        (limit(0, "/a", period="32", period_unit="86400"), "period", "Enter a period from 1 second to 31 days"),
        (limit(0, "/a", unit="tokens"), "window", "Choose a fixed window"),
        (limit(0, "/a", window="total"), "window", "only for a user's own rate limit"),
        (limit(0, "", 5), "path", "This field is required."),
        (limit(0, "/a") | limit(1, "/a", 5), "path", "This tier already has a rate limit with this host, path"),
        (limit(0, "/a/{x}") | limit(1, "/a/{y}", 5), "path", "matches the same requests as /a/{"),
        (limit(0, "/a", name="n") | limit(1, "/b", name="n"), "name", "Another rate limit has this name."),
        (
            limit(0, "/a/*", method="GET") | limit(1, "/a/*", method="") | limit(2, "/a", host="b:80"),
            "host",
            "Remove the port",
        ),
    ],
)
@pytest.mark.parametrize("new", [True, False])
def test_invalid_values_are_field_errors_and_all_values_are_kept(staff_client, pro, rows, field, error, new):
    page = ADD if new else url(pro)
    response = staff_client.post(page, opened(staff_client, page) | {"name": "gold"} | rows)
    assert response.status_code == 200
    found = errors(response)
    assert any(error in " ".join(messages) for of_row in found for name, messages in of_row.items() if name == field), (
        found
    )
    sent = fields_of(response.content.decode(), "rate_limits-0-path")
    assert {name: sent[name] for name in rows if name in sent} == {name: [value] for name, value in rows.items()}
    assert not RateLimit.objects.exists()
    assert not Tier.objects.filter(name="gold").exists()


def test_a_limit_that_never_applies_is_an_error(staff_client):
    methods = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    form = opened(staff_client, ADD) | {"name": "gold", "rate_limits-TOTAL_FORMS": "7"}
    given = {"window": "rolling", "period": "60", "mode": "enforce"}
    for number, method in enumerate(methods):
        form |= limit(number, "/a", method=method, **given)
    response = staff_client.post(ADD, form | limit(6, "/a", **given))
    assert "would never apply" in str(errors(response))


def test_the_name_of_another_tiers_limit_is_an_error(staff_client, free):
    make_limit(free, name="taken")
    response = staff_client.post(ADD, opened(staff_client, ADD) | {"name": "gold"} | limit(0, "/a", name="taken"))
    assert "Another rate limit has this name." in str(errors(response))


def test_a_limit_changed_by_another_user_is_a_conflict(staff_client, pro):
    row = make_limit(pro, "/a", name="a")
    form = opened(staff_client, url(pro))
    RateLimit.objects.filter(pk=row.pk).update(period=300)
    staff_client.post(url(pro), form | {"description": "New."})
    row.refresh_from_db()
    assert row.period == 300
    response = staff_client.post(url(pro), form | {"rate_limits-0-limit": "5"})
    assert "changed a row to “a” while you had this page open" in text_of(response)


def test_a_tier_with_many_limits_links_to_their_list(staff_client, pro):
    for number in range(MAX_ON_PAGE + 1):
        make_limit(pro, f"/path{number}", name=f"limit {number}")
    page = staff_client.get(url(pro))
    assert f"{MAX_ON_PAGE + 1} rate limits</a> are too many to edit here" in text_of(page)
    form = fields_of(page.content.decode(), "name")
    response = staff_client.post(url(pro), form | limit(0, "/path7", 3))
    assert "This tier already has" in str(errors(response))
    staff_client.post(url(pro), form | limit(0, "/new", 3))
    assert pro.rate_limits.live().count() == MAX_ON_PAGE + 2


def test_the_maximum_number_of_limits_can_be_saved(staff_client, pro):
    for number in range(MAX_ON_PAGE):
        make_limit(pro, f"/path{number}", name=f"limit {number}")
    form = opened(staff_client, url(pro)) | {"rate_limits-0-limit": "77"}
    assert staff_client.post(url(pro), form).status_code == 302
    assert RateLimit.objects.filter(limit=77).count() == 1


def test_the_number_of_queries_does_not_grow_with_limits(staff_client, pro):
    counts = []
    for number in range(3):
        make_limit(pro, f"/path{number}", name=f"limit {number}")
        with CaptureQueriesContext(connection) as queries:
            staff_client.get(url(pro))
        counts.append(len(queries))
    assert counts[1] == counts[2]


def test_limits_require_their_own_permissions(free):
    make_limit(free, "/shown", name="shown")
    viewer = make_staff("vera", "tiers.view_tier", "tiers.change_tier", "ratelimits.view_ratelimit")
    page = signed_in(viewer).get(url(free))
    assert "/shown" in page.text
    assert "rate_limits-0-path" not in page.text
    signed_in(viewer).post(url(free), opened(signed_in(viewer), url(free)) | limit(1, "/new"))
    assert limits(free) == {("/shown", 10, 60)}
    adder = make_staff(
        "anna", "tiers.view_tier", "tiers.change_tier", "ratelimits.add_ratelimit", "ratelimits.view_ratelimit"
    )
    client = signed_in(adder)
    form = opened(client, url(free))
    client.post(url(free), form | limit(1, "/new") | {"rate_limits-0-DELETE": "on", "rate_limits-0-limit": "99"})
    assert ("/shown", 10, 60) in limits(free)


def test_a_deleted_tier_is_read_only(staff_client, pro):
    pro.delete()
    page = text_of(staff_client.get(url(pro)))
    assert "Restore it to edit it." in page
    assert "rate_limits-0-path" not in page


def test_the_id_of_another_tiers_limit_is_an_error(staff_client, pro, free):
    row, other = make_limit(pro, "/one"), make_limit(free, "/two")
    form = opened(staff_client, url(pro)) | {"rate_limits-0-id": str(other.pk), "rate_limits-0-limit": "77"}
    response = staff_client.post(url(pro), form)
    assert response.status_code == 200
    assert errors(response) or "error" in text_of(response)
    assert set(RateLimit.objects.filter(pk__in=[row.pk, other.pk]).values_list("limit", flat=True)) == {10}
