"""Every URL of the project, and what each kind of user gets there. A URL that isn't in the list fails the test.

Each line has the pattern, then the response to a GET by a visitor, a user, staff who can only view users, and a superuser.
`in`: redirected to sign-in. `to`: redirected to another page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import URLResolver, get_resolver

from accounts.management.groups import create_groups
from accounts.models import BulkChange, User
from config.base.history import CHANGE, Author
from ratelimits.models import RateLimit
from tests.accounts.people import make_event, make_key, signed_in
from tests.conftest import make_user
from tests.rows import make_staff

pytestmark = pytest.mark.django_db

SIGN_IN_PAGES = ("/accounts/login/", "/admin/login/")
# Answered by middleware, so they aren't in a URLconf.
BY_MIDDLEWARE = {"livez", "readyz", "metrics"} | {
    f"authz/{name}" for name in ("caddy", "envoy/x", "nginx", "openapi.json", "traefik", "usage", "verify")
}
ROLES = ("visitor", "user", "viewer", "superuser")

EXPECTED = r"""
/                                                                        in  to  to  to
/help/                                                                   in  ok  ok  ok
/help/<path:name>                                                        in  403 ok  ok
/instance/accent.css                                                     404 404 404 404
/instance/logo                                                           404 404 404 404
/account/                                                                in  ok  ok  ok
/account/close/                                                          in  ok  ok  ok
/account/keys/                                                           in  ok  ok  ok
/account/keys/<uuid:key_id>/                                             in  404 404 404
/account/keys/<uuid:key_id>/disable/                                     in  404 404 404
/account/keys/<uuid:key_id>/edit/                                        in  404 404 404
/account/keys/<uuid:key_id>/enable/                                      in  404 404 404
/account/keys/<uuid:key_id>/expire/                                      in  404 404 404
/account/keys/<uuid:key_id>/revoke/                                      in  404 404 404
/account/keys/<uuid:key_id>/rotate/                                      in  404 404 404
/account/keys/new/                                                       in  ok  ok  ok
/account/lists/columns/                                                  405 405 405 405
/account/lists/views/                                                    in  ok  ok  ok
/account/lists/views/<int:pk>/default/                                   405 405 405 405
/account/lists/views/<int:pk>/delete/                                    in  404 404 404
/account/lists/views/<int:pk>/edit/                                      in  404 404 404
/account/lists/views/add/                                                405 405 405 405
/account/keys/undo/                                                      in  405 405 405
/account/limits/                                                         in  ok  ok  ok
/account/picture/                                                        in  404 404 404
/account/picture/change/                                                 405 405 405 405
/account/picture/remove/                                                 405 405 405 405
/account/settings/                                                       in  ok  ok  ok
/account/theme/                                                          405 405 405 405
/account/undo/                                                           in  405 405 405
/account/usage/                                                          in  ok  ok  ok
/account/usage/requests/                                                 in  ok  ok  ok
/account/usage/requests/<uuid:pk>/                                       in  404 404 404
/accounts/2fa/                                                           in  ok  ok  ok
/accounts/2fa/authenticate/                                              in  to  to  to
/accounts/2fa/reauthenticate/                                            in  to  to  to
/accounts/2fa/recovery-codes/                                            in  404 404 404
/accounts/2fa/recovery-codes/download/                                   in  404 404 404
/accounts/2fa/recovery-codes/generate/                                   in  to  to  to
/accounts/2fa/totp/activate/                                             in  to  to  to
/accounts/2fa/totp/deactivate/                                           in  404 404 404
/accounts/2fa/webauthn/                                                  in  ok  ok  ok
/accounts/2fa/webauthn/add/                                              in  to  to  to
/accounts/2fa/webauthn/keys/<int:pk>/edit/                               in  to  to  to
/accounts/2fa/webauthn/keys/<int:pk>/remove/                             in  to  to  to
/accounts/2fa/webauthn/login/                                            in  to  to  to
/accounts/2fa/webauthn/reauthenticate/                                   in  to  to  to
/accounts/3rdparty/                                                      in  ok  ok  ok
/accounts/3rdparty/login/cancelled/                                      ok  ok  ok  ok
/accounts/3rdparty/login/error/                                          401 401 401 401
/accounts/3rdparty/signup/                                               in  in  in  in
/accounts/^confirm-email/(?P<key>[-:\w]+)/$                              ok  ok  ok  ok
/accounts/^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$     ok  ok  ok  ok
/accounts/confirm-email/                                                 ok  ok  ok  ok
/accounts/email/                                                         in  ok  ok  ok
/accounts/github/login/                                                  404 404 404 404
/accounts/github/login/callback/                                         404 404 404 404
/accounts/google/login/                                                  404 404 404 404
/accounts/google/login/callback/                                         404 404 404 404
/accounts/inactive/                                                      ok  ok  ok  ok
/accounts/login/                                                         ok  to  to  to
/accounts/login/code/confirm/                                            in  to  to  to
/accounts/logout/                                                        in  ok  ok  ok
/accounts/password/change/                                               in  ok  ok  ok
/accounts/password/reset/                                                ok  ok  ok  ok
/accounts/password/reset/done/                                           ok  ok  ok  ok
/accounts/password/reset/key/done/                                       ok  ok  ok  ok
/accounts/password/set/                                                  in  to  to  to
/accounts/reauthenticate/                                                in  ok  ok  ok
/accounts/sessions/                                                      in  ok  ok  ok
/accounts/sessions/<int:pk>/end/                                         in  405 405 405
/accounts/signup/                                                        ok  to  to  to
/admin/                                                                  in  in  ok  ok
/admin/(?P<url>.*)$                                                      in  in  404 404
/admin/^(?P<app_label>admin|accounts|auth|ratelimits|tiers|apikeys)/$    in  in  ok  ok
/admin/accounts/user/                                                    in  in  to  to
/admin/accounts/user/<path:object_id>/                                   in  in  to  to
/admin/accounts/user/<path:object_id>/change/                            in  in  ok  ok
/admin/accounts/user/<path:object_id>/delete/                            in  in  403 ok
/admin/accounts/user/<path:object_id>/history/                           in  in  ok  ok
/admin/accounts/user/<path:object_id>/restore/                           in  in  403 403
/admin/accounts/user/add/                                                in  in  403 ok
/admin/accounts/user/export/                                             in  in  ok  ok
/admin/accounts/user/undo/                                               in  in  405 405
/admin/admin/logentry/                                                   in  in  403 ok
/admin/admin/logentry/<path:object_id>/                                  in  in  to  to
/admin/admin/logentry/<path:object_id>/change/                           in  in  403 ok
/admin/admin/logentry/<path:object_id>/delete/                           in  in  403 403
/admin/admin/logentry/<path:object_id>/history/                          in  in  403 ok
/admin/admin/logentry/add/                                               in  in  403 403
/admin/admin/logentry/export/                                            in  in  403 ok
/admin/apikeys/apikey/                                                   in  in  403 ok
/admin/apikeys/apikey/<path:object_id>/                                  in  in  to  to
/admin/apikeys/apikey/<path:object_id>/change/                           in  in  403 ok
/admin/apikeys/apikey/<path:object_id>/delete/                           in  in  403 ok
/admin/apikeys/apikey/<path:object_id>/history/                          in  in  403 ok
/admin/apikeys/apikey/<path:object_id>/restore/                          in  in  403 403
/admin/apikeys/apikey/<uuid:key_id>/disable/                             in  in  403 ok
/admin/apikeys/apikey/<uuid:key_id>/enable/                              in  in  403 ok
/admin/apikeys/apikey/<uuid:key_id>/expire/                              in  in  403 ok
/admin/apikeys/apikey/<uuid:key_id>/revoke/                              in  in  403 ok
/admin/apikeys/apikey/<uuid:key_id>/rotate/                              in  in  403 ok
/admin/apikeys/apikey/add/                                               in  in  403 ok
/admin/apikeys/apikey/bulk/                                              in  in  403 to
/admin/apikeys/apikey/export/                                            in  in  403 ok
/admin/apikeys/apikey/find/                                              in  in  403 ok
/admin/apikeys/apikey/undo/                                              in  in  405 405
/admin/apikeys/connect/                                                  in  403 403 ok
/admin/apikeys/connect/test/                                             405 405 405 405
/admin/apikeys/explain/                                                  in  403 403 ok
/admin/apikeys/hygiene/                                                  in  403 403 ok
/admin/auth/group/                                                       in  in  403 ok
/admin/auth/group/<path:object_id>/                                      in  in  to  to
/admin/auth/group/<path:object_id>/change/                               in  in  403 ok
/admin/auth/group/<path:object_id>/delete/                               in  in  403 ok
/admin/auth/group/<path:object_id>/history/                              in  in  403 ok
/admin/auth/group/add/                                                   in  in  403 ok
/admin/auth/group/export/                                                in  in  403 ok
/admin/autocomplete/                                                     in  in  403 403
/admin/jobs/                                                             in  403 403 ok
/admin/jobs/run/                                                         in  403 403 405
/admin/jsi18n/                                                           in  in  ok  ok
/admin/login/                                                            in  403 to  to
/admin/logout/                                                           to  to  405 405
/admin/password_change/                                                  in  in  to  to
/admin/password_change/done/                                             in  in  ok  ok
/admin/r/<path:content_type_id>/<path:object_id>/                        in  in  404 404
/admin/ratelimits/copy/                                                  in  403 403 ok
/admin/ratelimits/import/                                                in  403 403 ok
/admin/ratelimits/limited/                                               in  403 403 ok
/admin/ratelimits/limited/reset/                                         in  403 403 405
/admin/ratelimits/match/                                                 in  403 403 ok
/admin/ratelimits/ratelimit/                                             in  in  403 ok
/admin/ratelimits/ratelimit/<path:object_id>/                            in  in  to  to
/admin/ratelimits/ratelimit/<path:object_id>/change/                     in  in  403 ok
/admin/ratelimits/ratelimit/<path:object_id>/delete/                     in  in  403 ok
/admin/ratelimits/ratelimit/<path:object_id>/history/                    in  in  403 ok
/admin/ratelimits/ratelimit/<path:object_id>/restore/                    in  in  403 403
/admin/ratelimits/ratelimit/add/                                         in  in  403 ok
/admin/ratelimits/ratelimit/export/                                      in  in  403 ok
/admin/ratelimits/ratelimit/undo/                                        in  in  405 405
/admin/ratelimits/what-if/                                               in  403 403 ok
/admin/search/                                                           in  in  ok  ok
/admin/search/suggest/                                                   in  in  405 405
/admin/tiers/tier/                                                       in  in  403 ok
/admin/tiers/tier/<path:object_id>/                                      in  in  to  to
/admin/tiers/tier/<path:object_id>/change/                               in  in  403 ok
/admin/tiers/tier/<path:object_id>/delete/                               in  in  403 ok
/admin/tiers/tier/<path:object_id>/history/                              in  in  403 ok
/admin/tiers/tier/<path:object_id>/restore/                              in  in  403 403
/admin/tiers/tier/add/                                                   in  in  403 ok
/admin/tiers/tier/export/                                                in  in  403 ok
/admin/tiers/tier/undo/                                                  in  in  405 405
/admin/usage/                                                            in  403 403 ok
/admin/usage/requests/                                                   in  403 403 ok
/admin/usage/requests/<uuid:pk>/                                         in  403 403 ok
/admin/usage/suggest/keys/                                               405 405 405 405
/admin/usage/suggest/users/                                              405 405 405 405
/api/v1/whoami                                                           401 401 401 401
/authz/caddy                                                             403 403 403 403
/authz/envoy/x                                                           401 401 401 401
/authz/nginx                                                             403 403 403 403
/authz/openapi.json                                                      ok  ok  ok  ok
/authz/traefik                                                           403 403 403 403
/authz/usage                                                             405 405 405 405
/authz/verify                                                            405 405 405 405
/livez                                                                   ok  ok  ok  ok
/metrics                                                                 ok  ok  ok  ok
/readyz                                                                  ok  ok  ok  ok
/users/                                                                  in  403 ok  ok
/users/<int:pk>/                                                         in  403 ok  ok
/users/<int:pk>/access/                                                  in  403 ok  ok
/users/<int:pk>/delete/                                                  in  403 403 ok
/users/<int:pk>/edit/                                                    in  403 403 ok
/users/<int:pk>/erase/                                                   in  403 403 ok
/users/<int:pk>/limits/<int:limit_pk>/                                   in  403 403 ok
/users/<int:pk>/limits/<int:limit_pk>/end/                               in  403 403 ok
/users/<int:pk>/limits/add/                                              in  403 403 ok
/users/<int:pk>/limits/undo/                                             in  403 403 405
/users/<int:pk>/picture/                                                 in  403 404 404
/users/<int:pk>/reactivate/                                              in  403 403 to
/users/<int:pk>/resend-verification/                                     in  403 403 to
/users/<int:pk>/restore/                                                 in  403 403 to
/users/<int:pk>/send-reset/                                              in  403 403 ok
/users/<int:pk>/sign-out/                                                in  403 403 ok
/users/<int:pk>/suspend/                                                 in  403 403 ok
/users/<int:pk>/tier/                                                    in  403 403 ok
/users/<int:pk>/top-up/                                                  in  403 403 ok
/users/<int:pk>/verify/                                                  in  403 403 to
/users/add/                                                              in  403 403 ok
/users/bulk/                                                             405 405 405 405
/users/changes/                                                          in  403 ok  ok
/users/changes/<int:change_pk>/                                          in  403 ok  ok
/users/changes/<int:change_pk>/stop/                                     in  403 405 405
/users/changes/<int:change_pk>/undo/                                     in  403 405 405
/users/export.<str:file_format>                                          in  403 ok  ok
/users/import/                                                           in  403 403 ok
/users/undo/                                                             in  403 405 405
"""


def patterns(resolver: Any, prefix: str = "") -> Iterator[str]:
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from patterns(entry, path)
        else:
            yield path


def expected() -> dict[str, tuple[str, ...]]:
    lines = [line.split() for line in EXPECTED.strip().splitlines()]
    return {line[0].removeprefix("/"): tuple(line[1:]) for line in lines}


def all_patterns() -> set[str]:
    return set(patterns(get_resolver())) | BY_MIDDLEWARE


def test_the_list_has_every_url() -> None:
    listed, present = set(expected()), all_patterns()
    assert sorted(present - listed) == [], "new URLs: add them to EXPECTED, with the expected responses"
    assert sorted(listed - present) == [], "removed URLs: remove them from EXPECTED"


@pytest.fixture
def site(free):
    """A row of each model that a URL can name, owned by none of the users who open it, and a client for each role."""
    owner = make_user("owner")
    key = make_key(owner)
    limit = RateLimit.objects.create(tier=free, path="/x", limit=1, period=1)
    sue = make_user("sue", is_staff=True, is_superuser=True)
    Author(sue).record(owner, CHANGE, note="Hello.")
    return {
        "user": owner.pk,
        "group": Group.objects.create(name="support").pk,
        "tier": free.pk,
        "ratelimit": limit.pk,
        "bulk_change": BulkChange.objects.create(author=sue, action="delete", title="Delete 1 user", total=1).pk,
        "own_limit": RateLimit.objects.create(user=owner, path="/x", limit=1, period=1).pk,
        "apikey": key.pk,
        "keyusage": make_event(key).pk,
        "logentry": LogEntry.objects.get().pk,
        "clients": {
            "visitor": Client(),
            "user": signed_in(make_user("user")),
            "viewer": signed_in(make_staff("viewer", "view_user")),
            "superuser": signed_in(sue),
        },
    }


def filled(pattern: str, site: dict[str, Any]) -> str:
    """Replace the parameters of a URL pattern with IDs of existing rows and other valid values."""
    model = pattern.split("/")[2] if pattern.startswith("admin/") and pattern.count("/") > 2 else "user"
    path = pattern
    for parameter, value in {
        "<path:object_id>": site.get(model, 1),
        "<path:content_type_id>": 1,
        "<path:name>": "accounts",
        "<int:pk>": site["user"],
        "<str:file_format>": "csv",
        "<int:limit_pk>": site["own_limit"],
        "<int:change_pk>": site["bulk_change"],
        "<uuid:key_id>": site["apikey"],
        "<uuid:pk>": site["keyusage"],
        r"^confirm-email/(?P<key>[-:\w]+)/$": "confirm-email/wrong/",
        "^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$": "password/reset/key/1-wrong/",
        "^(?P<app_label>admin|accounts|auth|ratelimits|tiers|apikeys)/$": "accounts/",
        "(?P<url>.*)$": "nowhere/",
    }.items():
        path = path.replace(parameter, str(value))
    assert "<" not in path, f"{pattern}: give filled() a value for its parameter"
    return f"/{path}"


def read_to_the_end(response: Any) -> None:
    """Read streamed content, because an unread response keeps its query open."""
    if response.streaming:
        list(response)


def answer(client: Client, path: str) -> str:
    response = client.get(path)
    read_to_the_end(response)
    if response.status_code in {301, 302}:
        return "in" if response["Location"].startswith(SIGN_IN_PAGES) else "to"
    return "ok" if response.status_code == 200 else str(response.status_code)


def test_each_role_gets_the_expected_responses(site) -> None:
    differences = []
    for pattern, answers in expected().items():
        path = filled(pattern, site)
        found = tuple(answer(client, path) for client in site["clients"].values())
        if found != answers:
            differences.append(f"{path}: {dict(zip(ROLES, found, strict=True))}, not {answers}")
    assert differences == []


def test_visitors_and_users_cannot_post_to_staff_pages(site) -> None:
    opened = []
    for pattern in (name for name in expected() if name.startswith(("admin/", "users/"))):
        path = filled(pattern, site)
        for role in ("visitor", "user"):
            response = site["clients"][role].post(path)
            read_to_the_end(response)
            if response.status_code not in {302, 403, 404, 405}:
                opened.append(f"{role} at {path}: {response.status_code}")
    assert opened == []
    assert not User.objects.deleted().exists()
    assert not User.objects.suspended().exists()


STAFF = ("admin/", "users/")
# Sign-in and sign-out.
OPEN = {"admin/login/", "admin/logout/"}
# Pages that create, change or delete something.
CHANGES = (
    "/add/", "/delete/", "/restore/", "/edit/", "/tier/", "/erase/", "/copy/", "/suspend/", "/sign-out/", "/send-reset/",
    "/rotate/", "/disable/", "/enable/", "/expire/", "/revoke/", "users/import/", "ratelimits/import/",
    "/top-up/", "/<int:limit_pk>/", "/end/",
)  # fmt: skip


def test_staff_pages_require_a_second_factor_if_enabled(site, settings) -> None:
    settings.STAFF_MFA_REQUIRED = True
    client, opened = site["clients"]["superuser"], []
    for pattern in (name for name in expected() if name.startswith(STAFF) and name not in OPEN):
        path = filled(pattern, site)
        for response in (client.get(path), client.post(path)):
            read_to_the_end(response)
            unavailable = response.status_code in {404, 405}
            if not unavailable and not response.get("Location", "").startswith(("/accounts/2fa/", "/admin/login/")):
                opened.append(f"{path}: {response.status_code} {response.get('Location')}")
    assert opened == []


@pytest.mark.parametrize("group", ["Support", "Auditor"])
def test_support_and_auditors_can_open_every_read_only_page(site, group) -> None:
    create_groups()
    staff = make_user("staff", is_staff=True)
    staff.groups.add(Group.objects.get(name=group))
    client, closed = signed_in(staff), []
    for pattern, answers in expected().items():
        if pattern.startswith(STAFF) and answers[-1] == "ok" and not pattern.endswith(CHANGES):
            path = filled(pattern, site)
            if answer(client, path) != answers[-1]:
                closed.append(path)
    assert closed == []
