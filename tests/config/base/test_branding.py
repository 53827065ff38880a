"""The name, logo and accent color of an installation."""

from __future__ import annotations

import re

import pytest
from django.core import mail
from django.core.management import call_command
from django.core.management.base import SystemCheckError

from config.base import branding
from tests.chromium import faults_of

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 1"><rect width="2" height="1"/></svg>'


@pytest.fixture
def acme(settings, tmp_path):
    path = tmp_path / "logo.svg"
    path.write_bytes(SVG)
    settings.INSTANCE_NAME, settings.INSTANCE_LOGO, settings.ACCENT_COLOR = "Acme & Co", str(path), "#0f766e"
    return settings


@pytest.mark.django_db
def test_pages_have_the_name_logo_and_color_of_the_installation(acme, client, alice, sue):
    for user, path in (
        (None, "/accounts/login/"),
        (alice, "/account/"),
        (sue, "/admin/"),
        (sue, "/admin/tiers/tier/add/"),
    ):
        if user:
            client.force_login(user)
        page = client.get(path).content.decode()
        assert " · Acme &amp; Co</title>" in page
        assert "<span>Acme &amp; Co</span>" in page
        assert "<span>Gatehouse</span>" not in page
        logo = re.search(r'<img class="logo" src="(/instance/logo\?v=\w+)" alt=""', page)[1]
        assert f'<link rel="icon" href="{logo}">' in page
        assert '<link rel="stylesheet" href="/instance/accent.css?v=0f766e">' in page
    assert "Acme &amp; Co</title>" in client.get("/nowhere/").content.decode()


@pytest.mark.django_db
def test_logo_and_color_can_be_cached_and_run_no_script(acme, client):
    logo = client.get("/instance/logo")
    assert (logo.content, logo["Content-Type"]) == (SVG, "image/svg+xml")
    assert logo["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    style = client.get("/instance/accent.css")
    assert style["Content-Type"] == "text/css; charset=utf-8"
    assert "--indigo-fill: light-dark(#0f766e, " in style.content.decode()
    for response in (logo, style):
        assert "immutable" in response["Cache-Control"]
        assert "max-age=31536000" in response["Cache-Control"]


@pytest.mark.django_db
def test_emails_have_the_name(acme, client, alice):
    client.post("/accounts/password/reset/", {"email": alice.email})
    assert "\nAcme & Co at testserver" in mail.outbox[0].body


@pytest.mark.django_db
def test_a_missing_logo_is_replaced_by_the_default(acme, client, tmp_path):
    acme.INSTANCE_LOGO = str(tmp_path / "gone.svg")
    assert 'class="logo-ground"' in client.get("/accounts/login/").content.decode()
    assert client.get("/instance/logo").status_code == 404


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [
        ("INSTANCE_NAME", "x" * 41, "Use 1 to 40 characters, and no colon."),
        ("INSTANCE_NAME", "Acme: API", "Use 1 to 40 characters, and no colon."),
        ("INSTANCE_NAME", " ", ""),
        ("INSTANCE_NAME", "a\nb", ""),
        ("INSTANCE_LOGO", "logo.gif", "Use a file that ends in .svg, .png, .webp, .jpg, .jpeg."),
        ("INSTANCE_LOGO", "/nowhere/logo.svg", "It can't be read: No such file or directory."),
        ("ACCENT_COLOR", "red", "Use # and six hexadecimal digits, such as #4f46e5."),
        ("ACCENT_COLOR", "#fff", "Use # and six hexadecimal digits, such as #4f46e5."),
        (
            "ACCENT_COLOR",
            "#ffcc00",
            "White text on it has a contrast of only 1.5:1. Choose a darker color, with 4.5:1 or more.",
        ),
    ],
)
def test_invalid_settings_are_check_errors(settings, setting, value, problem):
    setattr(settings, setting, value)
    with pytest.raises(SystemCheckError) as refused:
        call_command("check")
    assert f"{setting} is “{value}”. {problem}" in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"x" * 100_001])
def test_a_logo_must_not_be_empty_or_large(settings, tmp_path, content):
    path = tmp_path / "logo.PNG"
    path.write_bytes(content)
    assert branding.logo_problem(str(path)) == "Use a file of up to 100 kB that isn't empty."


def test_valid_settings_are_accepted(tmp_path):
    path = tmp_path / "logo.PNG"
    path.write_bytes(b"x")
    assert branding.logo_problem(str(path)) == branding.logo_problem("") == ""
    assert branding.name_problem("Acme") == branding.color_problem("") == branding.color_problem("#0f766e") == ""
    assert branding.logo(str(path)).content_type == "image/png"


@pytest.mark.parametrize(
    "color", ["#000000", "#0f766e", "#b91c1c", "#1d4ed8", "#767676", "#4a044e", "#065f46", "#c2410c"]
)
def test_every_shade_of_an_accent_is_readable_in_both_themes(color):
    assert branding.color_problem(color) == ""
    shades = dict(re.findall(r"--indigo(\S*): (light-dark\(#\w{6}, #\w{6}\));", branding.accent_css(color)))
    light, dark = (
        {name: branding.parsed(re.findall(r"#\w{6}", pair)[theme]) for name, pair in shades.items()} for theme in (0, 1)
    )
    assert len(light) == 5
    backgrounds = {"light": ("#ffffff", "#f7f7f9", "#f3f3f7"), "dark": ("#101115", "#17181d", "#1f2027")}
    for theme, found in (("light", light), ("dark", dark)):
        for background in (*map(branding.parsed, backgrounds[theme]), found["-soft"]):
            assert branding.contrast(found[""], background) >= 4.5, (theme, background)
            assert branding.contrast(found["-strong"], background) >= 4.5, (theme, background)
        for fill in ("-fill", "-fill-hover"):
            assert branding.contrast(found[fill], branding.WHITE) >= 4.5, (theme, fill)


def test_contrast_follows_wcag():
    assert branding.contrast((0, 0, 0), branding.WHITE) == pytest.approx(21)
    assert branding.contrast((118, 118, 118), branding.WHITE) == pytest.approx(4.54, abs=0.005)


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_the_accent_and_logo_are_shown_in_a_browser(acme, visit, sue):
    page = visit(sue)
    page.goto("/account/settings/")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('form.card .button')).backgroundColor")
        == "rgb(15, 118, 110)"
    )
    assert page.evaluate("document.querySelector('img.logo').naturalWidth") > 0
    assert faults_of(page) == []
