"""After any sequence of changes to users, tiers and keys, decisions match a simple model of the rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from unittest import mock

from django.core.exceptions import ValidationError
from django.utils import timezone
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from accounts import services as users
from accounts.erasure import erase, purge
from accounts.models import User
from apikeys import services as keys
from apikeys.decision.checks import Facts
from apikeys.decision.credentials import credential_from
from apikeys.decision.decide import decide_many
from apikeys.models import APIKey
from config.base.access import Permission
from config.base.history import Author
from ratelimits.models import RateLimit
from tests.conftest import make_user
from tiers.models import Tier, TierAccess

# Requests: method, path and host.
READ_ORDER = ("GET", "/orders/7", "api.example.com")
CREATE_ORDER = ("POST", "/orders", "api.example.com")
READ_REPORT = ("GET", "/reports/2026", "api.example.com")
SANDBOX = ("GET", "/orders/7", "sandbox.example.com")
REQUESTS = (READ_ORDER, CREATE_ORDER, READ_REPORT, SANDBOX)
# The requests that each permission allows, written from docs/api-keys.md rather than taken from the tested code.
ALLOWS = {
    Permission("*", "*"): {*REQUESTS},
    Permission("read", "/*"): {READ_ORDER, READ_REPORT, SANDBOX},
    Permission("read", "/orders/{id}"): {READ_ORDER, SANDBOX},
    Permission("create", "/orders/*"): {CREATE_ORDER},
    Permission("*", "/orders/*", "api.example.com"): {READ_ORDER, CREATE_ORDER},
    Permission("*", "/*", "*.example.com"): {*REQUESTS},
    Permission("delete", "/orders/*"): set(),
}
PERMISSIONS = st.lists(st.sampled_from(sorted(ALLOWS)), max_size=3, unique=True)
HOURS = st.integers(1, 10)


def allowed_by(permissions):
    return set().union(*(ALLOWS[permission] for permission in permissions))


@dataclass
class ModelTier:
    pk: int
    access: list[Permission]


@dataclass
class ModelUser:
    pk: int
    tier: ModelTier | None
    tier_until: datetime | None = None
    # A limit of their own: this many requests in total.
    prepaid: int | None = None
    used: int = 0
    is_active: bool = True
    is_deleted: bool = False
    is_erased: bool = False
    is_purged: bool = False


@dataclass
class ModelSecret:
    """A secret of a key. ends_at: the end of its grace period, once it was replaced."""

    key: ModelKey
    text: str
    ends_at: datetime | None = None
    is_replaced: bool = False


@dataclass
class ModelKey:
    pk: object
    owner: ModelUser
    permissions: list[Permission]
    expires_at: datetime | None
    is_active: bool = True
    is_revoked: bool = False
    is_deleted: bool = False
    secrets: list[ModelSecret] = field(default_factory=list)


class KeyMachine(RuleBasedStateMachine):
    tiers, people, apikeys = Bundle("tiers"), Bundle("people"), Bundle("apikeys")

    def __init__(self):
        super().__init__()
        self.now = timezone.now()
        self.clock = mock.patch.object(timezone, "now", self.read_clock)
        self.clock.start()
        self.everyone, self.all_secrets = [], []
        self.sue = make_user("sue", is_staff=True, is_superuser=True)
        self.author = Author(self.sue)
        tier, _ = Tier.objects.get_or_create(name="free")
        self.default = ModelTier(tier.pk, [Permission("*", "*")])

    def teardown(self):
        self.clock.stop()
        User.objects.all().hard_delete()
        Tier.objects.filter(name__startswith="plan ").hard_delete()

    def read_clock(self):
        return self.now

    def rows(self, person):
        return User.objects.filter(pk=person.pk)

    @initialize(target=tiers)
    def seed_tiers(self):
        tiers = [ModelTier(Tier.objects.create(name=f"plan {name}").pk, [Permission("*", "*")]) for name in ("a", "b")]
        self.change_access(tiers[1], [Permission("read", "/orders/{id}")])
        return multiple(*tiers)

    @rule(tier=tiers, access=PERMISSIONS)
    def change_access(self, tier, access):
        TierAccess.objects.filter(tier_id=tier.pk).delete()
        TierAccess.objects.bulk_create([TierAccess(tier_id=tier.pk, **each._asdict()) for each in access])
        tier.access = access

    @initialize(target=people, tier=st.none() | tiers)
    def seed_person(self, tier):
        return self.join(tier)

    @initialize(target=apikeys, person=people)
    def seed_key(self, person):
        return self.create_key(person, [Permission("*", "*")], None)

    @rule(target=people, tier=st.none() | tiers)
    def join(self, tier):
        tier_id = tier and tier.pk
        person = ModelUser(make_user(f"user{len(self.everyone)}", tier_id=tier_id).pk, tier)
        self.everyone.append(person)
        return person

    @rule(person=people, tier=st.none() | tiers)
    def set_tier(self, person, tier):
        users.set_tier(self.rows(person), self.author, tier and Tier.objects.get(pk=tier.pk))
        if not person.is_deleted:
            person.tier, person.tier_until = tier, None

    @rule(person=people, hours=HOURS)
    def end_tier(self, person, hours):
        person.tier_until = self.now + timedelta(hours=hours)
        self.rows(person).update(tier_until=person.tier_until)

    @rule(person=people, requests=st.integers(1, 3))
    def prepay(self, person, requests):
        for user in self.rows(person).live():
            person.prepaid = (person.prepaid or 0) + requests
            values = {"limit": person.prepaid, "path": "/*", "window": "total", "overall": True}
            RateLimit.objects.update_or_create(user=user, defaults=values)

    @rule(key=apikeys, request=st.sampled_from(REQUESTS))
    def use(self, key, request):
        secret = key.secrets[-1]
        expected = self.expected(secret, request, cost=1)
        assert self.reasons([(secret, request)], cost=1) == [expected]
        key.owner.used += not expected

    @rule(person=people)
    def suspend(self, person):
        users.suspend(self.rows(person), self.author)
        person.is_active = person.is_active and person.is_deleted

    @rule(person=people)
    def reactivate(self, person):
        users.reactivate(self.rows(person), self.author)
        person.is_active = person.is_active or not person.is_deleted

    @rule(person=people)
    def delete(self, person):
        users.delete(self.rows(person), self.author)
        person.is_deleted = True

    @rule(person=people)
    def restore(self, person):
        users.restore(self.rows(person), self.author)
        person.is_deleted = person.is_purged or person.is_erased

    @rule(person=people)
    def erase(self, person):
        for user in self.rows(person):
            erase(user, self.author)
            person.is_erased = person.is_deleted = True
            for key in self.keys_of(person):
                key.is_revoked = True

    @rule(person=people)
    def purge(self, person):
        for user in self.rows(person).deleted():
            person.is_purged = purge(user)

    def keys_of(self, person):
        return [secret.key for secret in self.all_secrets if secret.key.owner is person]

    @rule(target=apikeys, person=people, permissions=PERMISSIONS, hours=st.none() | st.integers(1, 30))
    def create_key(self, person, permissions, hours):
        expires_at = hours and self.now + timedelta(hours=hours)
        owner = self.rows(person).first()
        if owner is None or person.is_deleted:
            return multiple()
        row, text = keys.issue_key(owner, self.author, permissions=permissions, name="a key", expires_at=expires_at)
        key = ModelKey(row.pk, person, permissions, expires_at)
        self.add_secret(key, text)
        return key

    def add_secret(self, key, text):
        secret = ModelSecret(key, text)
        key.secrets.append(secret)
        self.all_secrets.append(secret)

    def attempt(self, key, action, **arguments):
        """Call a service of apikeys. Returns its result, or False if it raised a validation error."""
        row = APIKey.objects.filter(pk=key.pk).first()
        if row is None:
            return False
        try:
            return action(row, self.author, **arguments) or True
        except ValidationError:
            return False

    def is_in_use(self, key):
        has_expired = key.expires_at is not None and key.expires_at <= self.now
        return not (key.is_revoked or key.is_deleted or key.owner.is_purged or has_expired)

    @rule(key=apikeys, grace=st.integers(0, 5))
    def rotate(self, key, grace):
        text = self.attempt(key, keys.rotate_key, grace=timedelta(hours=grace))
        assert bool(text) == self.is_in_use(key)
        if text:
            for secret in key.secrets:
                # Only the one before the last has a grace period.
                ends_at = self.now + timedelta(hours=grace)
                secret.ends_at = None if secret.is_replaced or not grace else min(ends_at, key.expires_at or ends_at)
                secret.is_replaced = True
            self.add_secret(key, text)

    @rule(key=apikeys, enabled=st.booleans())
    def set_enabled(self, key, enabled):
        if self.attempt(key, keys.set_enabled, enabled=enabled) and self.is_in_use(key):
            key.is_active = enabled

    @rule(key=apikeys)
    def revoke(self, key):
        self.attempt(key, keys.revoke_key, reason="leaked")
        key.is_revoked = True

    @rule(key=apikeys, hours=HOURS)
    def shorten_expiry(self, key, hours):
        expires_at = self.now + timedelta(hours=hours)
        is_shorter = self.is_in_use(key) and (key.expires_at is None or expires_at < key.expires_at)
        assert self.attempt(key, keys.shorten_expiry, expires_at=expires_at) == is_shorter
        if is_shorter:
            key.expires_at = expires_at

    @rule(key=apikeys, permissions=PERMISSIONS)
    def edit(self, key, permissions):
        assert self.attempt(key, keys.edit_key, permissions=permissions) == self.is_in_use(key)
        if self.is_in_use(key):
            key.permissions = permissions

    @rule(key=apikeys)
    def delete_key(self, key):
        APIKey.objects.filter(pk=key.pk).delete()
        key.is_deleted = True

    @rule(key=apikeys)
    def restore_key(self, key):
        for row in APIKey.objects.filter(pk=key.pk):
            row.restore()
        key.is_deleted = False

    @rule(hours=HOURS)
    def time_passes(self, hours):
        self.now += timedelta(hours=hours)

    def expected(self, secret, request, *, cost=0):
        """The first reason that applies, in the documented order."""
        key, owner = secret.key, secret.key.owner
        has_ended = owner.tier_until is not None and owner.tier_until <= self.now
        plan = self.default if owner.tier and has_ended else owner.tier
        is_past_grace = secret.is_replaced and secret.ends_at is None
        conditions = {
            "unknown_key": key.is_deleted or owner.is_purged or is_past_grace,
            "revoked_key": key.is_revoked,
            "disabled_key": not key.is_active,
            "expired_key": any(end is not None and end <= self.now for end in (key.expires_at, secret.ends_at)),
            "owner_inactive": owner.is_deleted or not owner.is_active,
            "permission_denied": request not in allowed_by(key.permissions),
            "tier_denied": plan is not None and request not in allowed_by(plan.access),
            "rate_limited": owner.prepaid is not None and owner.used + cost > owner.prepaid,
            "": True,
        }
        return next(reason for reason, applies in conditions.items() if applies)

    @invariant()
    def decisions_match_the_model(self):
        self.compare()

    @invariant()
    def decisions_will_match_the_model_in_four_hours(self):
        now = self.now
        self.now += timedelta(hours=4)
        self.compare()
        self.now = now

    def compare(self):
        asked = [(secret, request) for secret in self.all_secrets for request in REQUESTS]
        assert self.reasons(asked, cost=0) == [self.expected(*each) for each in asked]

    def reasons(self, asked, *, cost):
        facts = [
            Facts(credential_from(secret.text), method, path, host=host, cost=cost)
            for secret, (method, path, host) in asked
        ]
        return [verdict.reason for verdict in decide_many(facts)]


class KeyProperties(TestCase):
    def test_decisions_match_a_model_after_any_changes(self):
        KeyMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)
        KeyMachine.TestCase("runTest").runTest()
