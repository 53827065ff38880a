"""Admin lists only accept their own filters in URLs, so lookups can't reveal values that the list doesn't show."""

from __future__ import annotations

from itertools import chain
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import BadRequest, SuspiciousOperation

from accounts.models import User
from tests.config.base.sections import SECTIONS, changelist, list_path, list_url
from tests.conftest import make_user
from tests.rows import make_key, make_limit, make_staff, make_usage

pytestmark = pytest.mark.django_db
LOOKUPS = (
    "", "exact", "iexact", "startswith", "istartswith", "endswith", "contains", "icontains", "regex", "iregex", "gt", "gte",
    "lt", "lte", "range", "in", "isnull", "year", "year__gte", "date", "week_day", "has", "contained_by", "has_key", "len",
)  # fmt: skip
VALUES = ("^(a+)+$", "argon2", "1", "0", "1,2", '{"a":1}', "2026-01-01")


def get(client, url, query=None):
    """GET, and read streamed content: an unread export would leave a cursor open on PostgreSQL."""
    response = client.get(url, query)
    if response.streaming:
        response.content_read = response.getvalue()
    return response


def field_paths(model, depth):
    """Fields of a model and of related models, in both directions: `user__password`, `authenticator__data`."""
    for field in model._meta.get_fields():
        if "+" not in field.name:  # no reverse relation
            yield field.name
            if field.is_relation and depth and field.related_model:
                yield from (f"{field.name}__{rest}" for rest in field_paths(field.related_model, depth - 1))


def own_lookups(client, section):
    """The query parameters of the list's own filters."""
    filters = client.get(list_url(section)).context["cl"].filter_specs
    return {*chain.from_iterable(found.expected_parameters() for found in filters), *section.allowed_lookups}


@pytest.fixture
def vera(rows):
    """Staff with view permissions for every section."""
    names = [f"{section.opts.app_label}.view_{section.opts.model_name}" for section in SECTIONS]
    return make_staff("vera", *names)


@pytest.fixture
def viewer(client, vera):
    client.force_login(vera)
    return client


@pytest.fixture
def rows(free, pro):
    alice = make_user("alice", tier=free)
    make_limit(free)
    make_usage(make_key(alice))
    Group.objects.create(name="a group").user_set.add(alice)


def other_lookups(own, section):
    """Lookups that the list has no filter for: every fifth one of each field, with a value."""
    for place, path in enumerate(sorted(set(field_paths(section.model, 1)))):
        for number, lookup in enumerate(LOOKUPS):
            name = f"{path}__{lookup}" if lookup else path
            if name not in own and (number + place) % 5 == 0:
                yield {name: VALUES[(place + number) % len(VALUES)]}


@pytest.mark.parametrize("section", SECTIONS, ids=list_path)
def test_other_lookups_are_rejected(viewer, vera, section):
    lookups = list(other_lookups(own_lookups(viewer, section), section))
    assert len(lookups) > 20
    for lookup in lookups:
        with pytest.raises((SuspiciousOperation, BadRequest)):
            changelist(section, vera, lookup)
    # The list and the export use the same changelist, so a few lookups are enough to test that both answer 400.
    for lookup in lookups[::40]:
        for url in (list_path(section), f"{list_path(section)}export/"):
            assert get(viewer, url, lookup).status_code == 400, (url, lookup)


SECRETS = [
    ("accounts/user", "password__regex"), ("accounts/user", "password__startswith"), ("accounts/user", "password"),
    ("accounts/user", "google_id"), ("accounts/user", "github_id__gt"), ("accounts/user", "session_epoch__gte"),
    ("accounts/user", "emailaddress__email__startswith"), ("accounts/user", "authenticator__data__contains"),
    ("accounts/user", "socialaccount__uid"), ("accounts/user", "usersession__session_key__startswith"),
    ("accounts/user", "api_keys__secret_hash__startswith"), ("accounts/user", "logentry__change_message__contains"),
    ("apikeys/apikey", "secret_hash__startswith"), ("apikeys/apikey", "previous_hash__regex"),
    ("apikeys/apikey", "user__password__startswith"), ("apikeys/apikey", "user__groups__user__password__regex"),
    ("tiers/tier", "users__password__startswith"), ("tiers/tier", "users__api_keys__secret_hash__gt"),
    ("ratelimits/ratelimit", "tier__users__password__regex"), ("admin/logentry", "user__password__startswith"),
    ("auth/group", "user__password__startswith"), ("auth/group", "permissions__user__password__gt"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "lookup"), SECRETS, ids=lambda value: value.replace("/", "."))
@pytest.mark.parametrize("view", ["", "export/"])
def test_lookups_of_secrets_are_rejected(client, sue, rows, place, lookup, view):
    app, model = place.split("/")
    for person in (sue, make_staff("auditor", f"{app}.view_{model}")):
        client.force_login(person)
        for value in ("^argon2", "argon2", "", "0"):
            assert get(client, f"/admin/{place}/{view}", {lookup: value}).status_code == 400


def test_an_action_on_all_rows_rejects_other_lookups(staff_client, rows):
    data = {"action": "export_selected", "select_across": "1", "_selected_action": [str(User.objects.first().pk)]}
    assert staff_client.post("/admin/accounts/user/?password__startswith=argon2", data).status_code == 400


BROKEN = [
    ("accounts/user", "id__range", "1"), ("accounts/user", "created_at__year", "0"), ("accounts/user", "name__regex", "*"),
    ("accounts/user", "created_at__year", "10000"), ("accounts/user", "created_at__year__gte", "0"),
    ("accounts/user", "created_at__gte", "0000-00-00"), ("accounts/user", "created_at__gte", "10000-01-01"),
    ("accounts/user", "created_at__lt", "9999-12-31T23:59:59-23:59"), ("accounts/user", "created_at__gte", "0001-01-01T00:00+23:59"),
    ("accounts/user", "created_at__gte", "x"), ("accounts/user", "is_active__exact", "odd"),
    ("accounts/user", "tier__id__exact", "9" * 30), ("accounts/user", "tier__id__exact", "x"),
    ("accounts/user", "tier__id__exact", "-1"), ("accounts/user", "tier__id__exact", "1,2"),
    ("apikeys/apikey", "user__id__exact", "x"), ("apikeys/apikey", "expires_at__isempty", "2"),
    ("apikeys/apikey", "name__regex", "^(a+)+$"), ("apikeys/apikey", "created_at__week", "99"),
    ("admin/logentry", "action_time__gte", "9" * 40), ("admin/logentry", "action_flag__exact", "x"),
    ("admin/logentry", "by", "9" * 30), ("admin/logentry", "nothing", "1"), ("admin/logentry", "__", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("place", "lookup", "value"), BROKEN)
@pytest.mark.parametrize("view", ["", "export/"])
def test_invalid_values_of_filters_are_handled(staff_client, rows, place, lookup, value, view):
    response = get(staff_client, f"/admin/{place}/{view}", {lookup: value})
    assert response.status_code in {200, 400}
    if response.status_code == 200 and not view:
        assert not response.context["cl"].result_list


@pytest.mark.parametrize("section", SECTIONS, ids=list_path)
def test_every_filter_link_works(staff_client, rows, section):
    filters = staff_client.get(list_url(section)).context["cl"]
    links = [choice["query_string"] for found in filters.filter_specs for choice in found.choices(filters)]
    for link in links:
        assert get(staff_client, f"{list_path(section)}{link}&o=").status_code == 200, link
        assert get(staff_client, f"{list_path(section)}export/{link}").status_code == 200, link


def test_a_filter_filters(staff_client, rows, sue):
    found = get(staff_client, "/admin/accounts/user/?is_staff__exact=1&o=").context["cl"].result_list
    assert list(found) == [sue]


PARAMETERS = {"o": "1", "q": "a", "p": "1", "all": "", "e": "1", "_popup": "1", "_facets": "True"}


@pytest.mark.parametrize("section", SECTIONS, ids=list_path)
def test_other_parameters_of_a_list_are_accepted(staff_client, rows, section):
    for name, value in PARAMETERS.items():
        assert get(staff_client, list_path(section), {"o": "", name: value}).status_code == 200, name


@pytest.mark.parametrize("page", ["0", "-1", "9" * 30, "x", "1.5"])
def test_an_invalid_page_number_is_handled(staff_client, rows, page):
    response = get(staff_client, "/admin/accounts/user/", {"p": page})
    assert response.status_code in {200, 302, 400}


@pytest.mark.parametrize("field", ["password", "google_id", "user_permissions", "session_epoch", "x__y"])
def test_autocomplete_only_serves_relations_in_forms(staff_client, rows, field):
    query = {"app_label": "accounts", "model_name": "user", "field_name": field, "term": "argon2"}
    assert get(staff_client, f"/admin/autocomplete/?{urlencode(query)}").status_code in {400, 403, 404}


@pytest.mark.parametrize("section", SECTIONS, ids=list_path)
def test_search_fields_contain_no_secrets(section):
    hidden = ("password", "hash", "google_id", "github_id", "epoch", "data", "session")
    assert [field for field in section.search_fields if any(word in field for word in hidden)] == []


@pytest.mark.parametrize("url", ["/users/", "/users/export.csv", "/admin/usage/"])
def test_lists_outside_the_admin_ignore_other_lookups(staff_client, rows, url):
    def shown(query):
        response = get(staff_client, url + query)
        assert response.status_code == 200
        return len(response.content_read) if response.streaming else response.content.count(b"<tr")

    assert shown("?password__startswith=nothing&user__password__regex=x&name__regex=^(a%2B)%2B$") == shown("")
