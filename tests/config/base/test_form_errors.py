"""Forms with errors start with a summary of links to the fields, which gets the focus. Inputs can have a unit."""

from __future__ import annotations

import re

import pytest
from django import forms

from config.base.forms import AffixInput
from tests.accounts.people import signed_in
from tests.pages import opened
from tests.rows import make_key, make_limit

pytestmark = pytest.mark.django_db

LINK = re.compile(r'<a href="#([^"]+)">([^<]+)</a>')


def summary(response):
    """The labels of the summary's links, or None without a summary. Each link must have a target on the page."""
    html = response.content.decode()
    found = re.search(r'<div class="error-summary" role="alert" tabindex="-1" autofocus>(.*?)</div>', html, re.DOTALL)
    if found is None:
        return None
    links = LINK.findall(found[1])
    missing = [target for target, _ in links if f'id="{target}"' not in html]
    assert missing == []
    assert html.index("error-summary") < html.index("errorlist")
    return [label for _, label in links]


def test_the_summary_lists_fields_in_order(staff_client):
    assert summary(staff_client.get("/users/add/")) is None
    sent = {"name": "", "email": "nonsense", "username": "fine"}
    assert summary(staff_client.post("/users/add/", sent)) == ["Name", "Email address"]


def test_the_summary_of_a_key_form_lists_permission_rows(alice):
    client = signed_in(alice)
    key = make_key(alice, "export", allow=("read /orders",))
    sent = opened(client, f"/account/keys/{key.pk}/edit/") | {"name": "", "permissions-0-resource": "//"}
    assert summary(client.post(f"/account/keys/{key.pk}/edit/", sent)) == ["Name", "Permissions", "Resource 1"]


def test_the_summary_in_the_admin_lists_fields_of_inline_rows(staff_client, pro):
    make_limit(pro)
    url = f"/admin/tiers/tier/{pro.pk}/change/"
    assert summary(staff_client.get(url)) is None
    sent = opened(staff_client, url) | {"max_keys": "0", "rate_limits-0-limit": "0"}
    response = staff_client.post(url, sent)
    assert summary(response) == ["Keys per user", "Limit 1"]
    assert "admin/js/change_form.js" not in response.content.decode()  # it would move the focus


def test_non_field_errors_are_shown(client):
    response = client.post("/accounts/login/", {"login": "nobody", "password": "wrong"})
    assert summary(response) in ([], None)
    assert "errorlist" in response.content.decode()


def test_units_are_part_of_the_accessible_description(staff_client, alice):
    page = signed_in(alice).get("/account/keys/new/").content.decode()
    assert '<span class="affix" id="id_rate_limit_suffix">requests</span>' in page
    assert 'aria-describedby="id_rate_limit_suffix id_rate_limit_helptext"' in page
    page = staff_client.get("/admin/tiers/tier/add/").content.decode()
    assert '<span class="affix" id="id_max_key_days_suffix">days</span>' in page
    assert 'aria-describedby="id_max_key_days_suffix id_max_key_days_helptext"' in page


class AmountForm(forms.Form):
    amount = forms.CharField(widget=AffixInput(prefix="€"))


def test_a_prefix_is_rendered_before_the_input():
    html = str(AmountForm()["amount"])
    assert html.index('id="id_amount_prefix">€<') < html.index("<input")
    assert 'aria-describedby="id_amount_prefix"' in html
    assert "aria-describedby" not in str(AmountForm(auto_id=False)["amount"])
