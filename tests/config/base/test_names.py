"""Names can contain visible characters, but not control or invisible characters."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from accounts.models import User
from accounts.signin.providers import name_from
from apikeys.models import APIKey
from config.base.validators import validate_name, validate_text
from ratelimits.models import RateLimit
from tests.accounts.people import signed_in
from tests.accounts.signin.steps import confirm_identity, verified
from tests.apikeys.pages.key_form import filled_in
from tests.rows import make_key, make_limit
from tiers.models import Tier

FORBIDDEN = {
    "line break": "a\r\nb", "line feed": "a\nb", "carriage return": "a\rb", "tab": "a\tb", "vertical tab": "a\x0bb",
    "form feed": "a\x0cb", "escape": "a\x1b[31mb", "bell": "a\x07b", "delete": "a\x7fb", "next line": "a\x85b",
    "C1 control": "a\x9bb", "line separator": "a\u2028b", "paragraph separator": "a\u2029b",
    "right-to-left override": "a\u202eb", "pop directional": "a\u202cb", "isolate": "a\u2066b", "left-to-right mark": "a\u200eb",
    "right-to-left mark": "a\u200fb", "Arabic letter mark": "a\u061cb", "zero-width space": "a\u200bb",
    "byte order mark": "a\ufeffb", "word joiner": "a\u2060b", "soft hyphen": "a\u00adb", "annotation": "a\ufff9b",
    "tag": "a\U000e0041b", "unfinished flag": "a🏴\U000e0067\U000e0062", "noncharacter U+FFFF": "a\uffffb",
    "noncharacter U+FFFE": "a\ufffeb", "noncharacter U+FDD0": "a\ufdd0b", "noncharacter U+10FFFF": "a\U0010ffffb",
    "lone surrogate": "a\ud800b", "NUL": "a\0b", "Hangul filler": "admin\u3164", "half-width filler": "admin\uffa0",
    "empty Braille cell": "admin\u2800", "grapheme joiner": "a\u034fb", "joiner at the start": "\u200dab",
    "joiner at the end": "ab\u200d", "joiner after a space": "a \u200cb", "two joiners": "a\u200d\u200db",
    "selector at the start": "\ufe0fab", "selector after a space": "a \ufe0fb", "joiner before a space": "a\u200c b",
}  # fmt: skip
NOTHING_TO_SEE = {
    "zero-width spaces": "\u200b\u200b", "no-break spaces": "\u00a0\u00a0", "ideographic spaces": "\u3000\u3000",
    "spaces": "   ", "Hangul fillers": "\u3164\u3164", "joiners": "\u200c\u200d", "selectors": "\ufe0f\ufe0f",
    "tags": "\U000e0041\U000e0042",
}  # fmt: skip
READABLE = (
    "Ada Lovelace", "Zoë Weiß", "İstanbul", "山田 太郎", "山田\u3000太郎", "葛\U000e0100城", "علی\u200cرضا",
    "می\u200cخواهم", "क्\u200dष", "അവന്\u200d",
    "👩\u200d🚀 team", "❤\ufe0f\u200d🔥", "1\ufe0f\u20e3", "👨\u200d👩\u200d👧",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "e\u0301",
    "O’Brien-Smith", "a\u00a0b", "<b>&", "\u0600\u0661",
)  # fmt: skip

ADDED = {"name": "Dora", "username": "dora", "email": "dora@example.com", "tier": ""}
LIMIT = {"path": "/a", "method": "", "limit": 1, "period": 60, "window": "rolling", "mode": "enforce"}


@pytest.mark.parametrize("bad", [*FORBIDDEN.values(), *NOTHING_TO_SEE.values()], ids=[*FORBIDDEN, *NOTHING_TO_SEE])
def test_names_with_invisible_characters_are_rejected(bad):
    with pytest.raises(ValidationError):
        validate_name(bad)


@pytest.mark.parametrize("good", READABLE, ids=ascii)
def test_readable_names_are_accepted(good):
    validate_name(good)
    validate_text(good)


def test_the_message_says_what_to_remove():
    for name, wrong in [("a\r\nb", "Remove the line break."), ("a\tb", "Remove the tab."), ("a\u202eb", "U+202E")]:
        with pytest.raises(ValidationError, match=wrong.replace("+", r"\+")):
            validate_name(name)
    with pytest.raises(ValidationError, match="at least one visible character"):
        validate_name("\u00a0")


def test_texts_can_have_line_breaks_but_no_other_control_characters():
    validate_text("For small teams.\r\n\r\n\tUp to 5 keys.\n")
    validate_text("")
    for bad in ("a\x0bb", "a\x7fb", "a\u202eb", "a\u200bb", "a\uffffb"):
        with pytest.raises(ValidationError):
            validate_text(bad)


@pytest.mark.django_db
@pytest.mark.parametrize("bad", [*FORBIDDEN.values(), "\u00a0\u00a0", "\u3164\u3164"], ids=ascii)
def test_models_reject_such_names(free, alice, bad):
    rows = {
        "name": [
            Tier(name=bad),
            User(username="okay", name=bad, email="okay@example.com", password="x"),
            RateLimit(tier=free, name=bad, path="/a", limit=1),
            APIKey(user=alice, name=bad),
        ],
        "description": [
            Tier(name="ok", description=bad.replace("\n", "").replace("\r", "").replace("\t", "") + "\x0b")
        ],
    }
    for field, instances in rows.items():
        for row in instances:
            with pytest.raises(ValidationError) as refused:
                row.full_clean()
            assert field in refused.value.message_dict


STAFF_FORMS = {
    "tier": ("/admin/tiers/tier/add/", {"description": ""}, "name"),
    "edited tier": ("/admin/tiers/tier/{tier}/change/", {"description": ""}, "name"),
    "description": ("/admin/tiers/tier/add/", {"name": "fine"}, "description"),
    "rate limit": ("/admin/ratelimits/ratelimit/add/", {**LIMIT, "tier": "{tier}"}, "name"),
    "edited rate limit": ("/admin/ratelimits/ratelimit/{limit}/change/", {**LIMIT, "tier": "{tier}"}, "name"),
    "user": ("/users/add/", ADDED, "name"),
    "edited user": ("/users/{alice}/edit/", {**ADDED, "username": "alice", "email": "alice@example.com"}, "name"),
    "user in the admin": ("/admin/accounts/user/add/", ADDED, "name"),
    "edited user in the admin": ("/admin/accounts/user/{alice}/change/", {**ADDED, "is_active": "on"}, "name"),
    "group": ("/admin/auth/group/add/", {}, "name"),
    "edited group": ("/admin/auth/group/{group}/change/", {}, "name"),
    "key for a user": ("/admin/apikeys/apikey/add/", {"owner": "alice"}, "name"),
    "reason": ("/admin/apikeys/apikey/{key}/revoke/", {}, "reason"),
    "reason for many": (
        "/admin/apikeys/apikey/bulk/",
        {"action": "revoke", "pk": "{key}", "expected": "1"},
        "reason",
    ),
}
ACCOUNT_FORMS = {
    "own name": ("/account/", {"username": "alice"}, "name"),
    "own key": ("/account/keys/new/", {}, "name"),
    "edited own key": ("/account/keys/{key}/edit/", {"allow": "everything"}, "name"),
    "reason for one's own": ("/account/keys/{key}/revoke/", {}, "reason"),
    "passkey": ("/accounts/2fa/webauthn/keys/{passkey}/edit/", {}, "name"),
}


@pytest.fixture
def places(alice, free):
    data = {"name": "Key", "credential": {}}
    return {
        "alice": alice.pk,
        "tier": free.pk,
        "limit": make_limit(free).pk,
        "key": make_key(alice).pk,
        "group": Group.objects.create(name="crew").pk,
        "passkey": Authenticator.objects.create(user=verified(alice), type="webauthn", data=data).pk,
    }


def stored():
    """Every name, description and reason in the database."""
    return [
        list(model.objects.order_by("pk").values_list(*fields))
        for model, fields in (
            (Tier, ("name", "description")),
            (RateLimit, ("name",)),
            (User, ("name",)),
            (Group, ("name",)),
            (APIKey, ("name", "revoked_reason")),
            (Authenticator, ("data",)),
        )
    ]


def assert_rejected(client, form, places, bad):
    address, data, field = form
    before = stored()
    data = {name: str(value).format(**places) for name, value in data.items()} | {field: bad}
    answer = client.post(address.format(**places), data)
    assert answer.status_code < 500
    assert stored() == before
    assert any(text in answer.content.decode() for text in ("Remove the", "visible character"))


TYPED = ["a\x0bb", "a\x7fb", "a\u202eb", "a\u200bb", "\u3164\u3164", "a\uffffb"]


@pytest.mark.django_db
@pytest.mark.parametrize("bad", TYPED, ids=ascii)
@pytest.mark.parametrize("form", STAFF_FORMS)
def test_staff_forms_reject_such_names(sue, places, form, bad):
    assert_rejected(signed_in(sue), STAFF_FORMS[form], places, bad)


@pytest.mark.django_db
@pytest.mark.parametrize("bad", ["a\r\nb", "a\tb"], ids=ascii)
@pytest.mark.parametrize("form", [form for form in STAFF_FORMS if form != "description"])
def test_staff_forms_reject_line_breaks_and_tabs(sue, places, form, bad):
    assert_rejected(signed_in(sue), STAFF_FORMS[form], places, bad)


@pytest.mark.django_db
@pytest.mark.parametrize("bad", [*TYPED, "a\r\nb"], ids=ascii)
@pytest.mark.parametrize("form", ACCOUNT_FORMS)
def test_account_forms_reject_such_names(alice, places, form, bad):
    client = signed_in(alice)
    confirm_identity(client)
    assert_rejected(client, ACCOUNT_FORMS[form], places, bad)


@pytest.mark.django_db
@pytest.mark.parametrize("bad", TYPED, ids=ascii)
def test_signing_up_rejects_such_names(client, free, bad):
    data = {"name": bad, "username": "dora", "email": "dora@example.com", "password1": "correct horse 1"}
    answer = client.post("/accounts/signup/", data)
    assert "name" in answer.context["form"].errors
    assert not User.objects.exists()


@pytest.mark.django_db
def test_the_admin_key_page_rejects_such_names(staff_client, places):
    key = APIKey.objects.get()
    answer = staff_client.post(f"/admin/apikeys/apikey/{key.pk}/change/", filled_in(key, name="a\x0bb"))
    assert "Remove the" in answer.content.decode()
    assert APIKey.objects.get().name == key.name


@pytest.mark.django_db
def test_passkey_names_are_limited_to_100_characters(alice, places):
    client = signed_in(alice)
    confirm_identity(client)
    answer = client.post(f"/accounts/2fa/webauthn/keys/{places['passkey']}/edit/", {"name": "k" * 101})
    assert "at most 100" in answer.content.decode()


@pytest.mark.django_db
def test_descriptions_keep_line_breaks(staff_client):
    staff_client.post("/admin/tiers/tier/add/", {"name": "team", "description": "One\r\n\r\nTwo"})
    assert Tier.objects.get(name="team").description.split() == ["One", "Two"]


@pytest.mark.django_db
@pytest.mark.parametrize("bad", TYPED, ids=ascii)
def test_commands_reject_such_names(alice, settings, bad):
    key = make_key(alice)
    for command in (["create_key", "alice", "--name", bad], ["revoke_key", str(key.pk), "--reason", bad]):
        with pytest.raises(CommandError, match=r"Remove the|visible character"):
            call_command(*command)
    settings.DEFAULT_TIER_NAME = bad
    with pytest.raises(CommandError, match="DEFAULT_TIER_NAME"):
        call_command("bootstrap")
    settings.DEFAULT_TIER_NAME, settings.ADMIN_NAME = "free", bad
    with pytest.raises(CommandError, match="ADMIN_NAME"):
        call_command("bootstrap")
    assert list(APIKey.objects.values_list("name", "revoked_reason")) == [("a key", "")]


@pytest.mark.parametrize(
    ("given", "name"),
    [("Zoë\u202e Weiß", "Zoë Weiß"), ("\u3164\u3164", ""), ("\u200b\u200b", ""), ("x", ""), ("\ufe0fab", "")],
    ids=ascii,
)
def test_invisible_characters_are_removed_from_provider_names(given, name):
    assert name_from({"name": given}) == name
