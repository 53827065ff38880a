"""Base templates: the side bar by permission, the top bar, account and public pages, error pages."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages import constants
from django.contrib.staticfiles import finders
from django.template import Context, Template
from django.template.loader import get_template, render_to_string
from django.test import Client, override_settings
from django.urls import path
from django.views.defaults import server_error

from config.staff.templatetags import account_sections, staff_sections
from config.urls import urlpatterns as real_urls
from tests.rows import make_staff

SECTIONS = {
    "accounts.view_user": "Users",
    "tiers.change_tier": "Tiers",
    "ratelimits.view_ratelimit": "Rate limits",
    "apikeys.view_apikey": "API keys",
    "apikeys.view_keyusage": "Usage",
    "auth.view_group": "Groups",
    "admin.view_logentry": "History",
}


def broken(request):
    raise RuntimeError("broken")


urlpatterns = [*real_urls, path("broken/", broken), path("own/", server_error)]


def sections(rf, user, path="/admin/"):
    request = rf.get(path)
    request.user = user
    return staff_sections(Context({"request": request}))


@pytest.mark.django_db
def test_superusers_see_all_sections_with_the_current_one_marked(rf, sue):
    found = sections(rf, sue, "/admin/tiers/tier/5/change/")
    assert [entry["label"] for entry in found][:5] == ["Overview", "Users", "Tiers", "Rate limits", "API keys"]
    assert [entry["label"] for entry in found if entry["current"]] == ["Tiers"]
    assert [entry["label"] for entry in sections(rf, sue) if entry["current"]] == ["Overview"]
    assert not [entry for entry in sections(rf, sue, "/elsewhere/") if entry["current"]]


@pytest.mark.django_db
@pytest.mark.parametrize(("permission", "label"), SECTIONS.items())
def test_staff_see_the_sections_they_have_permission_for(client, permission, label):
    client.force_login(make_staff("one", permission))
    page = client.get("/admin/").content.decode()
    for name in SECTIONS.values():
        assert (f"</svg>\n{name}</a>" in page or f"</svg>{name}</a>" in page) is (name == label)


@pytest.mark.django_db
def test_users_and_visitors_see_no_staff_sections(rf, alice):
    assert sections(rf, alice) == []
    assert sections(rf, AnonymousUser()) == []
    assert staff_sections(Context({})) == []
    assert account_sections(Context({})) == []


@pytest.mark.django_db
def test_the_top_bar_for_staff(staff_client):
    page = staff_client.get("/admin/").content.decode()
    assert 'id="global-search"' in page
    assert "development" in page
    assert "Sign out" in page
    assert "Sue" in page
    assert 'class="theme-toggle"' in page


@pytest.mark.django_db
def test_account_pages_have_their_own_side_bar(rf, alice):
    request = rf.get("/account/keys/")
    request.user = alice
    source = '{% extends "base/account.html" %}{% block page_title %}Keys{% endblock %}{% block content %}<h1>Keys</h1>{% endblock %}'
    page = Template(source).render(Context({"request": request, "user": alice, "messages": []}))
    assert "<title>Keys · Gatehouse</title>" in page
    assert 'aria-label="Your account"' in page
    assert "Staff pages" not in page
    assert 'id="global-search"' not in page
    alice.is_staff = True
    assert "Staff pages" in Template(source).render(Context({"request": request, "user": alice}))


def test_public_pages_are_a_card_with_messages():
    source = '{% extends "base/public.html" %}{% block page_title %}In{% endblock %}{% block content %}<h1>Sign in</h1>{% endblock %}'

    class Message:
        level_tag, extra_tags = constants.DEFAULT_TAGS[constants.ERROR], ""

        def __str__(self):
            return "no <b>luck"

    page = Template(source).render(Context({"messages": [Message()]}))
    assert '<li class="error"> No &lt;b&gt;luck </li>' in " ".join(page.split())
    assert "public-card" in page


@pytest.mark.django_db
def test_staff_pages_outside_the_admin_have_the_same_base(rf, sue):
    request = rf.get("/users/")
    request.user = sue
    source = '{% extends "base/staff.html" %}{% block content %}<p>here</p>{% endblock %}'
    context = admin.site.each_context(request) | {"request": request, "user": sue, "title": "Users"}
    page = Template(source).render(Context(context))
    assert "<title>Users · Gatehouse</title>" in page
    assert "Rate limits</a>" in page
    assert "<h1>Users</h1>" in page


@pytest.mark.parametrize("code", ["400", "403", "403_csrf", "404", "500"])
def test_error_pages_render_without_context_or_database(code):
    page = get_template(f"{code}.html").render()
    assert "Request ID <code" in page
    assert "Go to the start page" in page
    assert "style=" not in page
    assert page == render_to_string(f"{code}.html")


@pytest.mark.django_db
@override_settings(ROOT_URLCONF=__name__, DEBUG=False)
def test_error_pages_explain_and_show_the_request_id():
    client = Client(raise_request_exception=False, enforce_csrf_checks=True)
    for method, url, status, words in (
        ("get", "/nowhere/", 404, "Page not found"),
        ("get", "/admin/?q=%00", 400, "couldn't understand this request"),
        ("get", "/broken/", 500, "Something went wrong"),
        ("post", "/admin/login/", 403, "This form has expired"),
    ):
        response = getattr(client, method)(url)
        assert response.status_code == status
        assert words in response.content.decode()
        assert response["X-Request-Id"] in response.content.decode()


@pytest.mark.django_db
@override_settings(DEBUG=False)
def test_the_403_page_says_whom_to_ask(client):
    client.force_login(make_staff("none"))
    response = client.get("/admin/tiers/tier/")
    assert response.status_code == 403
    assert "ask a superuser" in response.content.decode()


@pytest.mark.parametrize("name", ["development", "production"])
def test_the_environment_badge(name):
    with override_settings(ENVIRONMENT_NAME=name):
        page = Template("{% load gatehouse %}{% environment_badge as e %}{{ e.name }} {{ e.kind }}").render(Context())
    assert page == {"development": "development muted", "production": "production warn"}[name]


def test_css_and_javascript_are_small():
    def size(name):
        return len(gzip.compress(Path(finders.find(name)).read_bytes()))

    stock = [f"admin/css/{name}.css" for name in ("base", "changelists", "forms", "widgets", "responsive")]
    assert sum(map(size, ["css/gatehouse.css", *stock])) < 40_000
    assert size("js/gatehouse.js") < 5_000


@pytest.mark.parametrize(
    ("path", "section"),
    [
        ("/admin/", "Overview"),
        ("/admin/apikeys/hygiene/", "API keys"),
        ("/admin/apikeys/explain/", "API keys"),
        ("/admin/apikeys/connect/", "API keys"),
        ("/admin/ratelimits/match/", "Rate limits"),
        ("/admin/usage/", "Usage"),
        ("/users/", "Users"),
    ],
)
def test_the_side_bar_marks_the_current_section(staff_client, path, section):
    page = staff_client.get(path).content.decode()
    current = re.findall(r'<a [^>]*aria-current="page"[^>]*>(.*?)</a>', page[: page.index("<main")], re.DOTALL)
    assert [re.sub(r"<.*?>|\s+", " ", link).strip() for link in current] == [section]


def test_pages_outside_the_sections_mark_none(staff_client):
    page = staff_client.get("/admin/search/?q=x").content.decode()
    assert 'aria-current="page"' not in page[: page.index("<main")]
