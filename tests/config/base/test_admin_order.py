"""Admin lists can be sorted by any column: every row appears once, and rows without a value are last."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.test import RequestFactory
from django.utils import timezone

from accounts.models import User
from apikeys.models import APIKey
from config.base.admin import GatehouseModelAdmin
from config.base.changelist import GatehouseChangeList, leads_to_many, may_be_null
from ratelimits.models import RateLimit
from tests.config.base.sections import SECTIONS, changelist, list_path
from tests.conftest import make_user
from tests.rows import make_key, make_limit, make_usage
from tiers.models import Tier

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows(pro, free):
    """Three rows of each model, each with several related rows."""
    groups = [Group.objects.create(name=f"group {number}") for number in range(3)]
    permissions = Permission.objects.all()[:3]
    for group in groups:
        group.permissions.add(*permissions)
    for number in range(3):
        user = make_user(f"user{number}", tier=(pro, free, None)[number])
        user.groups.add(*groups)
        user.user_permissions.add(*permissions)
        make_limit(pro, f"/orders/{number}")
        make_limit(free, f"/orders/{number}")
        for place in range(3):
            key = make_key(user, f"key {place}", allow=("read *", "create /orders", "delete /orders"))
            make_usage(key)
            make_usage(key)


@pytest.mark.parametrize("section", SECTIONS, ids=list_path)
@pytest.mark.usefixtures("rows")
def test_sorting_shows_every_row_once(sue, section):
    def shown(**query):
        return sorted(str(row.pk) for row in changelist(section, sue, query).queryset)

    wanted = shown()
    columns = [str(number) for number in range(-len(section.list_display) - 1, len(section.list_display) + 3)]
    for order in [
        *columns,
        *(".".join(pair) for pair in list(permutations(columns, 2))[::7]),
        "1.1",
        "-1.1",
        "x",
        "1.x",
    ]:
        assert shown(o=order) == wanted, order


@pytest.mark.parametrize("section", SECTIONS, ids=list_path)
@pytest.mark.parametrize("order", ["1.-2", "-99", "x", "1.x"])
@pytest.mark.usefixtures("rows")
def test_invalid_sort_parameters_are_handled(staff_client, section, order):
    assert staff_client.get(list_path(section), {"o": order}).status_code == 200


def sorted_by(client, url, column, attribute):
    return [getattr(row, attribute) for row in client.get(url, {"o": column}).context["cl"].result_list]


@pytest.mark.parametrize(
    ("place", "column", "attribute"),
    [("apikeys/apikey", "Expires", "expires_at"), ("apikeys/apikey", "Last used", "last_used_at")],
)
def test_rows_without_a_value_are_last_in_both_directions(staff_client, alice, place, column, attribute):
    now = timezone.now()
    times = [None, now + timedelta(days=3), None, now + timedelta(days=1), now + timedelta(days=2)]
    for number, time in enumerate(times):
        APIKey.objects.filter(pk=make_key(alice, f"key {number}").pk).update(**{attribute: time})
    url = f"/admin/{place}/"
    headers = staff_client.get(url).content.decode()
    number = column_number(place, column)
    assert f"o={number}" in headers
    known = sorted(time for time in times if time)
    assert sorted_by(staff_client, url, str(number), attribute) == [*known, None, None]
    assert sorted_by(staff_client, url, f"-{number}", attribute) == [*reversed(known), None, None]


def column_number(place, title):
    """The number of a column in `?o=`."""
    section = next(section for section in SECTIONS if list_path(section) == f"/admin/{place}/")
    names = [getattr(getattr(section, str(name), None), "short_description", name) for name in section.list_display]
    return names.index(title) + 1


def test_users_without_a_value_are_last_in_both_directions(staff_client, sue, free):
    for number in range(3):
        make_user(f"user{number}", tier=free if number == 1 else None)
    section = next(section for section in SECTIONS if section.model is User)
    for number, name in enumerate(section.list_display, start=1):
        changelist = staff_client.get("/admin/accounts/user/", {"o": str(number)}).context["cl"]
        field = changelist.get_ordering_field(name)
        if isinstance(field, str) and may_be_null(User, field.removeprefix("-")):
            backwards = staff_client.get("/admin/accounts/user/", {"o": f"-{number}"}).context["cl"]
            for found in (changelist, backwards):
                empty = [value is None for value in found.queryset.values_list(field, flat=True)]
                assert empty == sorted(empty), name


def test_counts_are_sorted_as_numbers(staff_client, free, pro):
    empty = Tier.objects.create(name="empty")
    for number in range(12):
        make_user(f"user{number}", tier=free if number < 10 else pro)
    number = column_number("tiers/tier", "Users")
    assert sorted_by(staff_client, "/admin/tiers/tier/", str(number), "pk") == [empty.pk, pro.pk, free.pk]
    assert sorted_by(staff_client, "/admin/tiers/tier/", f"-{number}", "pk") == [free.pk, pro.pk, empty.pk]


def test_a_many_valued_relation_cannot_be_sorted_by(rf: RequestFactory, sue):
    class Section(GatehouseModelAdmin):
        list_display = ("name", "users")

    request = rf.get("/", {"o": "2"})
    request.user = sue
    section = Section(Tier, admin.site)
    changelist = GatehouseChangeList(
        request, Tier, ["name", "users"], ["name"], [], None, [], [], 50, 50, [], section, None, ""
    )
    assert changelist.get_ordering_field("users") is None
    assert changelist.get_ordering(request, Tier.objects.all()) == ["-pk"]


@pytest.mark.parametrize(
    ("model", "path", "many", "null"),
    [
        (User, "name", False, False),
        (User, "pk", False, False),
        (User, "tier__name", False, True),
        (User, "last_login", False, True),
        (User, "groups", True, False),
        (RateLimit, "tier__users__name", True, True),
        (APIKey, "user__username", False, False),
        (Tier, "user_count", False, True),
    ],
)
def test_leads_to_many_and_may_be_null(model, path, many, null):
    assert leads_to_many(model, f"-{path}") is many
    if not many:
        assert may_be_null(model, path) is null
