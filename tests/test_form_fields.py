"""Every field of every page tells the browser what it is for: what may be filled in, which keyboard, where its help is.

`PERSONAL` lists the fields that browsers and password managers fill in. All others must turn that off.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any, NamedTuple

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from config.base.renderer import PROSE
from tests.accounts.signin.steps import ask_for_reset, confirm_identity, enrol, link_in, make_verified, sign_in
from tests.pages import opened
from tests.rows import make_key
from tests.test_urls_access import expected, filled, read_to_the_end, site  # noqa: F401  (site is a fixture)

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("short_formsets")]

PERSONAL = """
/accounts/login/                       login         username
/accounts/login/                       password      current-password
/accounts/signup/                      name          name
/accounts/signup/                      username      username
/accounts/signup/                      email         email
/accounts/signup/                      password1     new-password
/accounts/password/reset/              email         email
/accounts/password/reset/key/          username      username
/accounts/password/reset/key/          password1     new-password
/accounts/password/reset/key/          password2     new-password
/accounts/password/change/             username      username
/accounts/password/change/             oldpassword   current-password
/accounts/password/change/             password1     new-password
/accounts/password/change/             password2     new-password
/accounts/email/                       email         email
/accounts/reauthenticate/              username      username
/accounts/reauthenticate/              password      current-password
/accounts/2fa/authenticate/            code          one-time-code
/accounts/2fa/reauthenticate/          code          one-time-code
/accounts/2fa/totp/activate/           code          one-time-code
/account/                              name          name
/account/                              username      username
/account/close/                        -             username
/account/close/                        password      current-password
"""
TYPES = {
    "text", "email", "password", "search", "number", "url", "date", "datetime-local", "file", "checkbox", "radio",
    "textarea", "select",
}  # fmt: skip
CHOSEN = {"file", "checkbox", "radio", "select"}
PICKED = {"date", "datetime-local"}
# A browser would cut what is pasted there, and its owner wouldn't notice.
ANY_LENGTH = {"password", "oldpassword", "password1", "password2", "metadata"}
# Numbers that are entered as text.
DIGITS = {"period", "max_keys", "max_key_days", "rate_limit", "rate_period", "code"}


class Field(NamedTuple):
    path: str
    type: str
    attributes: dict[str, str]

    @property
    def name(self) -> str:
        return self.attributes.get("name", "-").rpartition("-")[2] or "-"

    @property
    def is_text(self) -> bool:
        return self.type not in CHOSEN

    def __str__(self) -> str:
        return f"{self.path} {self.name}"


class Reader(HTMLParser):
    """The fields of a page that people see or password managers read, and all ids."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path, self.fields, self.ids = path, [], set()

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        found = {name: value or "" for name, value in attributes}
        self.ids.add(found.get("id"))
        kind = found.get("type", "text") if tag == "input" else tag
        if tag in {"input", "select", "textarea"} and kind not in {"hidden", "submit"}:
            self.fields.append(Field(self.path, kind, found))


def short(path: str) -> str:
    """The path without what differs from run to run."""
    return "/accounts/password/reset/key/" if path.startswith("/accounts/password/reset/key/") else path


def read(response: Any) -> Reader:
    reader = Reader(short(response.wsgi_request.path))
    reader.feed(response.content.decode())
    return reader


def pages_of_the_list(site) -> list[Any]:  # noqa: F811
    """What a superuser and a visitor see, as far as it's a page."""
    pages = []
    for pattern, answers in expected().items():
        for person, wanted in (("superuser", answers[-1]), ("visitor", answers[0])):
            if wanted == "ok" and "export" not in pattern:
                response = site["clients"][person].get(filled(pattern, site))
                read_to_the_end(response)
                if response.get("Content-Type", "").startswith("text/html"):
                    pages.append(response)
    return pages


def pages_of_steps() -> list[Any]:
    """Pages that take some steps to get to."""
    dora = make_verified("dora")
    client, phone = Client(), Client()
    sign_in(client, "dora")
    confirm_identity(client)
    pages = [client.get("/accounts/2fa/totp/activate/"), client.get("/accounts/2fa/webauthn/add/")]
    enrol(client)
    sign_in(phone, "dora")
    pages.append(phone.get("/accounts/2fa/authenticate/"))
    passkey = Authenticator.objects.create(user=dora, type="webauthn", data={"name": "Phone", "credential": {}})
    pages.append(client.get(f"/accounts/2fa/webauthn/keys/{passkey.pk}/edit/"))
    pages.append(client.get("/accounts/2fa/reauthenticate/"))
    _, message = ask_for_reset(Client(), dora.email)
    pages.append(Client().get(link_in(message), follow=True))
    key = make_key(dora)
    return pages + [client.get(f"/account/keys/{key.pk}/{step}/") for step in ("edit", "expire", "revoke", "rotate")]


@pytest.fixture
def readers(site):  # noqa: F811
    pages = [*pages_of_the_list(site), *pages_of_steps()]
    assert {page.status_code for page in pages} == {200}
    return [read(page) for page in pages]


def test_every_field_has_the_right_attributes(readers):
    # Pages are only rendered once for all of these: that takes seconds.
    fields = [field for reader in readers for field in reader.fields]
    assert len(fields) > 500
    browsers_fill_in_what_is_personal_and_nothing_else(fields)
    keyboards_fit_what_is_entered(fields)
    texts_have_a_type_and_a_length(fields)
    help_is_part_of_the_description(readers)


def browsers_fill_in_what_is_personal_and_nothing_else(fields):
    personal = {tuple(line.split()) for line in PERSONAL.strip().splitlines()}
    found = {(field.path, field.name, field.attributes.get("autocomplete", "")) for field in fields if field.is_text}
    assert {one for one in found if one[2] != "off"} == personal


def keyboards_fit_what_is_entered(fields):
    for field in fields:
        if not field.is_text or field.type in PICKED or "readonly" in field.attributes:
            continue
        words = {name: field.attributes.get(name) for name in ("autocapitalize", "spellcheck")}
        if field.type == "number" or field.name in DIGITS:
            assert field.attributes.get("inputmode") == "numeric", field
        elif field.name not in PROSE:
            assert words == {"autocapitalize": "none", "spellcheck": "false"}, field
        else:
            assert words == {"autocapitalize": None, "spellcheck": None}, field


def texts_have_a_type_and_a_length(fields):
    for field in fields:
        assert field.type in TYPES, field
        if field.is_text and field.type not in {*PICKED, "number"} and "readonly" not in field.attributes:
            is_bounded = "maxlength" in field.attributes or field.attributes.get("inputmode") == "numeric"
            assert is_bounded or field.name in ANY_LENGTH, field


def help_is_part_of_the_description(readers):
    for reader in readers:
        for field in reader.fields:
            described = set(field.attributes.get("aria-describedby", "").split())
            assert described <= reader.ids, f"{field}: {described - reader.ids}"
            own_help = f"{field.attributes.get('id')}_helptext"
            assert field.type in CHOSEN or own_help not in reader.ids or own_help in described, field


EMPTY_OR_WRONG = (
    ("sue", "/users/add/", {"name": "", "username": "Ä", "email": "nonsense", "billing_day": "99"}),
    ("sue", "/admin/ratelimits/ratelimit/add/", {"path": "x", "limit": "0", "period": "0"}),
    ("sue", "/admin/tiers/tier/add/", {"name": "", "max_keys": "0", "rate_limits-0-limit": "0"}),
    ("sue", "/admin/apikeys/apikey/add/", {"name": "", "owner": "nobody", "rate_period": "x", "allowed_ips": "x"}),
    ("", "/accounts/signup/", {"name": "", "username": "Ä", "email": "nonsense", "password1": "short"}),
    ("", "/accounts/password/reset/", {"email": "nonsense"}),
)


@pytest.mark.parametrize(("person", "path", "changes"), EMPTY_OR_WRONG)
def test_errors_are_part_of_the_description_of_the_field(client, sue, free, person, path, changes):
    if person:
        client.force_login(sue)
    reader = read(client.post(path, opened(client, path, next(iter(changes))) | changes))
    by_name = {field.attributes.get("name"): field.attributes for field in reader.fields}
    for name in changes:
        attributes = by_name[name]
        described = set(attributes.get("aria-describedby", "").split())
        assert attributes.get("aria-invalid") == "true", name
        assert f"id_{name}_error" in described, name
        assert described <= reader.ids, name
