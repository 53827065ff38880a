"""Invalid forms and query strings get a form error, a redirect or a 4xx response, never a 5xx, and change nothing."""

from __future__ import annotations

import pytest
from django import forms
from django.core.exceptions import ValidationError

from accounts.models import User
from apikeys.models import APIKey
from config.base.forms import StrictJSONField
from ratelimits.models import RateLimit
from tests.rows import make_key, make_limit, make_usage
from tiers.models import Tier

pytestmark = pytest.mark.django_db

PLACES = (
    "accounts/user", "tiers/tier", "ratelimits/ratelimit", "apikeys/apikey", "admin/logentry", "auth/group",
)  # fmt: skip
QUERIES = (
    "q=%00", "q=%ED%A0%80", "q=" + "x" * 5000, "p=999999", "p=-1", "p=0", "p=NaN", "p=1e309", "p=" + "9" * 5000, "o=99", "o=-99.1",
    "o=x", "o=1e309", "o=" + "9" * 40, "ot=desc", "e=1", "all=", "state=%F0%9F", "state=all&state=deleted", "id=0", "id=-1",
    f"id={10**30}", "id__in=1,2,x", f"id__in={10**30}", "id__exact=NaN", "created_at__gte=x", "created_at__gte=9999999-01-01",
    "created_at__gte=0001-01-01", "created_at__isnull=x", "password__startswith=a", "user__password=x", "nonsense=1",
    "nonsense__x__y=1", "tier__id__exact=x", f"tier__id__exact={10**30}", "tier__isnull=x", "_popup=1", "_to_field=x",
    "_to_field=password", "_changelist_filters=%00", "_changelist_filters=%ff", "_facets=1", "is_active__exact=odd",
    "last_login__year=NaN", "last_login__gte=1e309", "content_type__id__exact=-1", "action_flag__exact=1e309",
    "method=%00", "answer=", "by=" + "1" * 400, "last_used_at__isnull=maybe", "revoked_at__isempty=x", "%00=1", "a[]=1", "=", "&&&",
)  # fmt: skip
PKS = (
    "0",
    "-1",
    str(10**30),
    "1e309",
    "NaN",
    "%00",
    "_00",
    "%ED%A0%80",
    "x" * 5000,
    "..%2f..",
    "00000000-0000-0000-0000-000000000000",
)


@pytest.fixture
def rows(alice, free):
    make_usage(make_key(alice))
    make_limit(free)


@pytest.mark.filterwarnings("ignore:DateTimeField .* received a naive datetime")
@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query[:40])
def test_no_query_string_breaks_a_list_or_its_export(staff_client, rows, query):
    for place in PLACES:
        for page in ("", "export/"):
            response = staff_client.get(f"/admin/{place}/{page}?{query}")
            assert response.status_code < 500, f"{place} {page}"
            if response.streaming:
                response.getvalue()


@pytest.mark.parametrize("pk", PKS, ids=lambda pk: pk[:40])
@pytest.mark.parametrize("page", ["change", "delete", "restore", "history"])
def test_no_id_breaks_a_page(staff_client, rows, page, pk):
    for place in PLACES:
        assert staff_client.get(f"/admin/{place}/{pk}/{page}/").status_code < 500
        assert staff_client.post(f"/admin/{place}/{pk}/{page}/", {"post": "yes"}).status_code < 500


@pytest.mark.parametrize("selected", ["0", "-1", str(10**30), "x", "1e309", "\0"], ids=ascii)
@pytest.mark.parametrize("action", ["delete_selected", "restore_selected", "export_selected", "nonsense"])
def test_no_selection_breaks_an_action(staff_client, rows, action, selected):
    for place in PLACES:
        data = {"action": action, "_selected_action": [selected], "post": "yes"}
        response = staff_client.post(f"/admin/{place}/", data)
        assert response.status_code < 500
        if response.streaming:
            response.getvalue()
    assert User.objects.live().count() == 2


BAD_NUMBERS = ("0", "-1", str(2**63), str(10**30), "1e309", "NaN", "inf", "1.5", "", "\0", "9" * 5000)


@pytest.mark.parametrize("number", BAD_NUMBERS, ids=lambda text: ascii(text)[:30])
@pytest.mark.parametrize("field", ["limit", "period"])
def test_bad_numbers_of_a_limit_are_form_errors(staff_client, free, field, number):
    data = {
        "tier": free.pk,
        "path": "/a",
        "limit": 5,
        "period": 60,
        "window": "rolling",
        "mode": "enforce",
        field: number,
    }
    page = staff_client.post("/admin/ratelimits/ratelimit/add/", data)
    assert page.status_code == 200
    assert field in page.context["adminform"].form.errors
    assert not RateLimit.objects.exists()


@pytest.mark.parametrize("number", [number for number in BAD_NUMBERS if number], ids=lambda text: ascii(text)[:30])
def test_bad_numbers_of_a_key_are_form_errors(staff_client, alice, number):
    key = make_key(alice)
    data = {
        "name": "k", "is_active": "on", "allowed_ips": "[]", "metadata": "{}", "rate_limit": number, "rate_period": number,
        "permissions-TOTAL_FORMS": "0", "permissions-INITIAL_FORMS": "0",
    }  # fmt: skip
    page = staff_client.post(f"/admin/apikeys/apikey/{key.pk}/change/", data)
    assert page.status_code == 400
    assert page.context["form"].errors
    key.refresh_from_db()
    assert (key.name, key.rate_limit) == ("a key", None)


@pytest.mark.parametrize("tier", ["0", "-1", str(10**30), str(2**63), "x", "NaN", "\0"], ids=ascii)
def test_an_unknown_tier_is_a_form_error(staff_client, alice, tier):
    data = {"name": "Alice", "username": "alice", "email": "alice@example.com", "tier": tier, "is_active": "on"}
    page = staff_client.post(f"/admin/accounts/user/{alice.pk}/change/", data)
    assert page.status_code == 200
    assert "tier" in page.context["adminform"].form.errors


@pytest.mark.parametrize("group", ["0", "-1", str(10**30), "x", "\0"], ids=ascii)
def test_an_unknown_group_changes_nothing(staff_client, alice, free, group):
    data = {"name": "Al", "username": "alice", "email": "alice@example.com", "is_active": "on", "groups": [group]}
    assert staff_client.post(f"/admin/accounts/user/{alice.pk}/change/", data).status_code in {200, 400}
    alice.refresh_from_db()
    assert alice.name == "Alice"


@pytest.mark.parametrize(
    "text",
    ["", "x" * 10**6, "a\0b", "é" * 200, "a b", "UPPER!", "\u202e", "a" * 33],
    ids=lambda text: ascii(text)[:20],
)
def test_bad_usernames_are_form_errors(staff_client, text):
    data = {"name": "Someone", "username": text, "email": "someone@example.com"}
    page = staff_client.post("/admin/accounts/user/add/", data)
    assert page.status_code == 200
    assert "username" in page.context["adminform"].form.errors
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    "email", ["", "x", "a@b", "x" * 10**6 + "@example.com", "a\0@example.com", "a@" + "b" * 260 + ".com"]
)
def test_bad_addresses_are_form_errors(staff_client, email):
    page = staff_client.post("/admin/accounts/user/add/", {"name": "Someone", "username": "someone", "email": email})
    assert "email" in page.context["adminform"].form.errors


BAD_JSON = (
    '{"a": NaN}', '{"a": Infinity}', '{"a": 1e309}', '{"a": "\\u0000"}', '{"\\u0000": 1}', '["\\ud800"]', "[" * 9000, "{", "x",
    '{"a": ' + "9" * 5000 + "}", '"' + "x" * 10**6 + '"', '[["\\u0000"]]',
)  # fmt: skip


@pytest.mark.parametrize("text", BAD_JSON, ids=lambda text: text[:20])
def test_json_that_cannot_be_stored_is_a_form_error(staff_client, alice, text):
    with pytest.raises(ValidationError):
        StrictJSONField().clean(text)
    key = make_key(alice)
    data = {
        "name": "k", "is_active": "on", "allowed_ips": "[]", "metadata": text,
        "permissions-TOTAL_FORMS": "0", "permissions-INITIAL_FORMS": "0",
    }  # fmt: skip
    page = staff_client.post(f"/admin/apikeys/apikey/{key.pk}/change/", data)
    assert page.status_code == 400
    assert "metadata" in page.context["form"].errors
    assert APIKey.objects.get().metadata == {}


@pytest.mark.parametrize("text", ['{"a": [1, "é", null, true]}', "[]", "{}", '{"path": "C:\\\\u0000"}'])
def test_json_that_can_be_stored_is_accepted(text):
    assert StrictJSONField(required=False).clean(text) is not None
    assert isinstance(StrictJSONField(), forms.JSONField)


@pytest.mark.parametrize("term", ["%00", "x" * 5000, "%ED%A0%80", "'", "%25", "_"], ids=lambda term: term[:20])
def test_no_search_breaks(staff_client, rows, term):
    for url in ("/admin/search/?q=", "/admin/autocomplete/?app_label=accounts&model_name=user&field_name=tier&term="):
        assert staff_client.get(url + term).status_code < 500


@pytest.mark.parametrize(
    "query", ["", "app_label=x", "app_label=accounts&model_name=user&field_name=password", "page=NaN"]
)
def test_an_invalid_autocomplete_is_rejected(staff_client, query):
    assert staff_client.get(f"/admin/autocomplete/?{query}").status_code in {400, 403, 404}


def test_a_form_with_errors_keeps_its_values(staff_client):
    Tier.objects.create(name="pro")
    page = staff_client.post("/admin/tiers/tier/add/", {"name": "pro", "description": "typed <b>words"})
    assert "typed &lt;b&gt;words" in page.content.decode()
    assert "Another tier has this name." in page.content.decode()
