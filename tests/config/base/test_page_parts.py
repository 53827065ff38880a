"""Template tags that pages share: pagination links, breadcrumbs, badges, form fields."""

from __future__ import annotations

import re

import pytest
from django import forms
from django.core.paginator import Paginator
from django.template import Context, Template


def render(source, request, **context):
    return Template("{% load gatehouse %}" + source).render(Context({"request": request} | context))


def links(html):
    return re.findall(r'<a href="([^"]*)"[^>]*>([^<]*)</a>', html)


def test_page_links_keep_the_query_and_include_first_and_last(rf):
    page = Paginator(range(20_000), 10).page(1_000)
    html = render("{% page_links page %}", rf.get("/?q=a b&page=7"), page=page)
    assert links(html)[0] == ("?q=a+b&amp;page=999", "Previous")
    assert [label for _, label in links(html)][1:-1] == ["1", "998", "999", "1,001", "1,002", "2,000"]
    assert links(html)[-1] == ("?q=a+b&amp;page=1001", "Next")
    assert '<span aria-current="page">1,000</span>' in html


def test_page_links_accept_a_parameter_name_and_are_empty_for_one_page(rf):
    assert links(render('{% page_links page "p" %}', rf.get("/"), page=Paginator(range(3), 2).page(1))) == [
        ("?p=2", "2"),
        ("?p=2", "Next"),
    ]
    assert links(render('{% page_links page "p" %}', rf.get("/"), page=Paginator(range(2), 2).page(1))) == []


@pytest.mark.parametrize(
    ("path", "home"), [("/users/", ("/admin/", "Overview")), ("/account/keys/", ("/account/", "Your account"))]
)
def test_breadcrumbs_start_at_home_and_end_without_a_link(rf, path, home):
    html = render('{% breadcrumbs "Users" "users:list" name "" "Edit" %}', rf.get(path), name="a & b")
    assert links(html) == [home, ("/users/", "Users")]
    text = re.sub(r"<[^>]*>", "", html)
    assert [part.strip() for part in text.split("&rsaquo;")] == [home[1], "Users", "a &amp; b", "Edit"]


def test_badges_have_the_color_of_their_state_or_kind(rf):
    html = render('{% badges states %}{% badge word "ok" %}', rf.get("/"), states=["revoked", "unheard of"], word="<b>")
    assert re.findall(r'badge-(\w+)">([^<]*)<', html) == [
        ("danger", "revoked"),
        ("muted", "unheard of"),
        ("ok", "&lt;b&gt;"),
    ]


class SampleForm(forms.Form):
    name = forms.CharField(help_text="Up to <b>two</b> words.")
    color = forms.ChoiceField(choices=[("r", "Red")], widget=forms.RadioSelect)
    token = forms.CharField(widget=forms.HiddenInput, required=False)


def test_forms_render_fields_with_errors_and_help():
    html = str(SampleForm({"name": "", "colour": "r"}))
    assert html.count('<div class="field') == 2
    assert '<div class="field field-name errors">' in html
    assert re.search(r'<div class="help" id="id_name_helptext">\s*Up to <b>two</b> words.\s*</div>', html)
    assert "<legend>Color</legend>" in html
    assert html.count('name="token"') == 1
