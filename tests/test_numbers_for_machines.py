"""Numbers for machines (ids, values, URLs, coordinates) have no thousands separators; numbers for people do."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone

from accounts.models import BulkChange, User
from apikeys.models import APIKey, KeyPermission
from config.base.history import CHANGE, Author
from ratelimits.models import Denial, Outage, RateLimit
from tests.accounts.people import messages, signed_in
from tests.accounts.signin.steps import confirm_identity, sign_in, verified
from tests.conftest import make_user
from tests.rows import make_key, make_limit, make_usage
from tests.test_hostile_forms import forms_of
from tests.test_urls_access import expected, filled, read_to_the_end
from tiers.models import Tier

pytestmark = pytest.mark.django_db

FIRST = 1_234_567
# Attributes for people, which can have separators.
FOR_PEOPLE = frozenset({"title", "aria-label", "placeholder", "alt", "content"})
GROUPED = re.compile(r"(?<![\d,])\d{1,3}(,\d{3})+(?![\d,])")
# Sign-out, and pages that need a passkey.
NOT_VISITED = re.compile(r"logout|authenticate|webauthn/(login|add)")


class AttributeReader(HTMLParser):
    """Finds attributes for machines that have a number with separators."""

    def __init__(self):
        super().__init__()
        self.faults = []

    def handle_starttag(self, tag, attributes):
        self.faults += [
            f"<{tag} {name}={value!r}>"
            for name, value in attributes
            if name not in FOR_PEOPLE and GROUPED.search(value or "")
        ]


def faults(html):
    reader = AttributeReader()
    reader.feed(html)
    return reader.faults


@pytest.fixture
def large_numbers(settings, db):
    """A row of each model, with IDs and numbers in the millions, and clients of a superuser and of the rows' owner."""
    settings.RATE_LIMIT_STORE = "memory"
    now = timezone.now()
    free = Tier.objects.create(id=FIRST, name="free")
    pro = Tier.objects.create(id=FIRST + 1, name="pro")
    sue = make_user("sue", id=FIRST, tier=free, is_staff=True, is_superuser=True)
    olga = make_user("olga", id=FIRST + 1, tier=free)
    key = make_key(olga, rate_limit=1_234_567, rate_period=3_600, allow=())
    KeyPermission.objects.create(id=FIRST, api_key=key, action="read", resource="/orders/*")
    limit = make_limit(free, "/x", id=FIRST, limit=1_234_567, period=1_234)
    make_limit(pro, "/y", id=FIRST + 1, limit=1_234, period=604_800)
    own = RateLimit.objects.create(id=FIRST + 2, user=olga, path="/z", limit=1_234_567, period=1_234)
    figures = {"tokens_used": 7_654_321, "cost_microcents": 7_654_321, "response_time_ms": 7_654}
    event = make_usage(key, **figures)
    Denial.objects.create(
        id=FIRST, key="k", owner=f"user:{olga.pk}", rate_limit=limit, name=limit.name, limit=1_234_567, period=1_234,
        window="rolling", count=7_654_321, first_at=now, last_at=now,
    )  # fmt: skip
    Outage.objects.create(id=FIRST, store="redis", node="web-1", error="away", began_at=now, allowed=7_654_321)
    bulk = BulkChange.objects.create(
        id=FIRST, author=sue, action="delete", title="Delete", total=7_654_321, handled=1_234_567, done=1_234_567
    )
    Author(sue).record(olga, CHANGE, note="Hello.")
    LogEntry.objects.update(id=FIRST)
    SocialAccount.objects.create(id=FIRST, user=olga, provider="github", uid="1234567", extra_data={"login": "olga"})
    olgas_client = Client()
    sign_in(olgas_client, verified(olga).username)
    confirm_identity(olgas_client)
    UserSession.objects.filter(user=olga).update(id=FIRST)
    Authenticator.objects.create(id=FIRST, user=olga, type="webauthn", data={"name": "Key", "credential": {}})
    return {
        "user": olga.pk,
        "group": Group.objects.create(id=FIRST, name="support").pk,
        "tier": free.pk,
        "ratelimit": limit.pk,
        "own_limit": own.pk,
        "bulk_change": bulk.pk,
        "apikey": key.pk,
        "keyusage": event.pk,
        "logentry": FIRST,
        "clients": {"superuser": signed_in(sue), "user": olgas_client},
    }


MORE = {
    "superuser": [
        "/users/?tier={tier}&sort=-seen&size=25", "/users/?q=olga", "/admin/search/?q=o", "/admin/tiers/tier/?q=free",
        "/admin/accounts/user/?tier__id__exact={tier}", "/admin/ratelimits/ratelimit/?tier__id__exact={tier}",
        "/admin/ratelimits/match/?method=GET&path=/x&tier={tier}", "/admin/ratelimits/copy/?source={tier}&target={tier}",
        "/admin/ratelimits/what-if/?limit_id={ratelimit}", "/admin/usage/?user=olga", "/admin/usage/?key={apikey}",
        "/admin/apikeys/apikey/?q=a", "/admin/admin/logentry/?q=olga",
        "/admin/autocomplete/?app_label=accounts&model_name=user&field_name=tier&term=f",
    ],
    "user": ["/account/usage/?key={apikey}", *(f"/account/keys/{{apikey}}/{step}" for step in ("", "edit/", "rotate/"))],
}  # fmt: skip
# Pages that are shown after submitting a form: confirmations, and forms with errors.
POSTED = [
    ("/admin/accounts/user/", {"action": "delete_selected", "_selected_action": "{user}"}),
    ("/admin/tiers/tier/", {"action": "delete_selected", "_selected_action": "{tier}"}),
    ("/admin/ratelimits/ratelimit/", {"action": "observe_selected", "_selected_action": "{ratelimit}"}),
    ("/admin/auth/group/", {"action": "delete_selected", "_selected_action": "{group}"}),
    ("/admin/apikeys/apikey/bulk/", {"action": "revoke", "pk": "{apikey}"}),
    ("/users/bulk/", {"action": "suspend", "pk": "{user}"}),
    ("/users/bulk/", {"action": "tier", "tier": "{tier}", "pk": "{user}"}),
    ("/users/{user}/edit/", {"name": "", "username": "olga", "email": "olga@example.com", "tier": "{tier}"}),
    ("/admin/ratelimits/ratelimit/{ratelimit}/change/", {"tier": "{tier}", "limit": "1234567", "period": "999999999"}),
    ("/admin/tiers/tier/{tier}/delete/", {"post": "yes", "move_users_to": "1234999"}),
    ("/admin/ratelimits/copy/", {"source": "{tier}", "target": "1234568"}),
    ("/admin/ratelimits/match/", {"method": "GET", "path": "/x", "tier": "{tier}", "user": ""}),
    ("/admin/ratelimits/what-if/", {"limit_id": "{ratelimit}", "tier": "{tier}", "path": "/x", "limit": "1234", "period": "1234"}),
]  # fmt: skip


def pages(large_numbers):
    """Every page that the clients can open, by path."""
    for role, client in large_numbers["clients"].items():
        patterns = [pattern for pattern, answers in expected().items() if {"ok", "to"} & set(answers)]
        for path in [filled(pattern, large_numbers) for pattern in patterns] + [
            more.format(**large_numbers) for more in MORE[role]
        ]:
            if not NOT_VISITED.search(path):
                answer = client.get(path)
                read_to_the_end(answer)
                if not answer.streaming:
                    yield f"{role} at {path}", answer.content.decode()
    for path, data in POSTED:
        sent = {name: value.format(**large_numbers) for name, value in data.items()}
        answer = large_numbers["clients"]["superuser"].post(path.format(**large_numbers), sent)
        yield f"sent to {path}", answer.content.decode()


def test_attributes_for_machines_have_no_separators(large_numbers):
    seen = dict(pages(large_numbers))
    assert len(seen) > 150
    assert {place: found for place, html in seen.items() if (found := faults(html))} == {}


def test_numbers_for_people_have_separators(large_numbers):
    client = large_numbers["clients"]["superuser"]
    event = client.get(f"/admin/usage/requests/{large_numbers['keyusage']}/").content.decode()
    assert "7,654,321" in event
    assert "$0.07654321" in event
    assert "7,654 ms" in event
    assert "7,654,321" in client.get("/admin/usage/").content.decode()
    assert "1,234,567 per 1,234 seconds" in client.get("/admin/ratelimits/ratelimit/").content.decode()


def test_a_provider_account_can_be_disconnected(large_numbers):
    olgas_client = large_numbers["clients"]["user"]
    page = olgas_client.get("/accounts/3rdparty/").content.decode()
    sent = re.search(r'name="account" value="([^"]*)"', page)[1]
    answer = olgas_client.post("/accounts/3rdparty/", {"account": sent}, follow=True)
    assert not SocialAccount.objects.exists()
    assert "Disconnect olga" not in answer.content.decode()


@pytest.mark.parametrize("sent", ["1,234,567", "999", "", "x", "9" * 30])
def test_an_unknown_provider_account_is_a_form_error(large_numbers, sent):
    answer = large_numbers["clients"]["user"].post("/accounts/3rdparty/", {"account": sent})
    assert 'class="errorlist"' in answer.content.decode()
    assert SocialAccount.objects.count() == 1


@pytest.mark.parametrize("action", ["action_send", "action_remove"])
def test_an_address_that_is_not_pending_shows_a_message(large_numbers, action):
    answer = large_numbers["clients"]["user"].post(
        "/accounts/email/", {action: "", "email": "nobody@example.com"}, follow=True
    )
    assert any("isn't waiting to be verified" in text for text in messages(answer))


def test_passkeys_and_sessions_can_be_removed(large_numbers):

    olgas_client = large_numbers["clients"]["user"]
    passkeys = olgas_client.get("/accounts/2fa/webauthn/").content.decode()
    assert f"/accounts/2fa/webauthn/keys/{FIRST}/remove/" in passkeys
    olgas_client.post(f"/accounts/2fa/webauthn/keys/{FIRST}/remove/")
    assert not Authenticator.objects.exists()
    sessions = olgas_client.get("/accounts/sessions/").content.decode()
    (ending,) = re.findall(r'<form method="post" action="([^"]*sessions/[^"]+)"', sessions)
    olgas_client.post(ending)
    assert not UserSession.objects.filter(id=FIRST).exists()


def test_staff_forms_can_be_saved_unchanged(large_numbers):

    client = large_numbers["clients"]["superuser"]
    for path in (
        f"/users/{large_numbers['user']}/edit/",
        f"/admin/accounts/user/{large_numbers['user']}/change/",
        f"/admin/ratelimits/ratelimit/{large_numbers['ratelimit']}/change/",
        f"/admin/apikeys/apikey/{large_numbers['apikey']}/change/",
    ):
        (form,) = [form for form in forms_of(client, path) if form.method == "post" and "bulk" not in form.address]
        assert client.post(form.address, form.sent).status_code == 302, path
    assert KeyPermission.objects.get().pk == FIRST
    assert (RateLimit.objects.get(pk=FIRST).limit, APIKey.objects.get().rate_limit) == (1_234_567, 1_234_567)
    assert User.objects.get(pk=large_numbers["user"]).tier_id == FIRST
