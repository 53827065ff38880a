"""No user or rate limit ends up on a deleted tier when requests are concurrent."""

from __future__ import annotations

import threading

import pytest
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.db import OperationalError, connection, transaction

from accounts import services
from accounts.models import User
from config.base.history import Author
from config.base.models import ConcurrentDeletion
from ratelimits.models import RateLimit
from ratelimits.services import copy_limits
from tests.accounts.people import signed_in
from tests.conftest import make_user
from tests.parallel import in_parallel
from tests.rows import make_limit
from tiers.models import Tier
from tiers.services import delete_tier

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 6


@pytest.fixture
def root():
    Tier.objects.get_or_create(name="free")
    return make_user("root", is_staff=True, is_superuser=True)


def fields(user, tier):
    return {"name": user.name, "username": user.username, "email": user.email, "tier": tier.pk}


# Each of these moves a user to the tier in a different way.


def edit(client, user, tier):
    return client.post(f"/users/{user.pk}/edit/", fields(user, tier))


def add(client, user, tier):
    form = {"name": "Zoe", "username": f"zoe_{tier.pk}", "email": f"zoe{tier.pk}@example.com", "tier": tier.pk}
    return client.post("/users/add/", form)


def set_tier(client, user, tier):
    return client.post(f"/users/{user.pk}/tier/", {"tier": tier.pk})


def bulk(client, user, tier):
    return client.post("/users/bulk/", {"action": "tier", "tier": tier.pk, "pk": user.pk, "expected": 1})


def admin_edit(client, user, tier):
    return client.post(f"/admin/accounts/user/{user.pk}/change/", fields(user, tier) | {"is_active": "on"})


def admin_add(client, user, tier):
    form = {"name": "Zoe", "username": f"zoe_{tier.pk}", "email": f"zoe{tier.pk}@example.com", "tier": tier.pk}
    return client.post("/admin/accounts/user/add/", form)


WAYS = [edit, add, set_tier, bulk, admin_edit, admin_add]


def tier_page(client, tier):
    return client.post(f"/admin/tiers/tier/{tier.pk}/delete/", {"post": "yes"})


def on_deleted_tiers():
    users = User.objects.live().exclude(tier__deleted_at=None).filter(tier__isnull=False).count()
    return users + RateLimit.objects.live().exclude(tier__deleted_at=None).count()


@pytest.mark.parametrize("way", WAYS)
def test_each_way_moves_a_user_to_the_tier(root, way):
    tier = Tier.objects.create(name="pro")
    assert way(signed_in(root), make_user("nina", tier=None), tier).status_code == 302
    assert tier.users.live().count() == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_tier_is_deleted_or_gets_a_user_but_not_both(root, way):
    first, second = signed_in(root), signed_in(root)
    for number in range(ROUNDS):
        tier = Tier.objects.create(name=f"pro {number}")
        user = make_user(f"nina_{number}", tier=None)
        work = [lambda user=user, tier=tier: way(first, user, tier), lambda tier=tier: tier_page(second, tier)]
        answers = in_parallel(2, lambda which, work=work: work[which]().status_code)
        assert set(answers) <= {200, 302}
        tier.refresh_from_db()
        assert (tier.deleted_at is None) is tier.users.live().exists()
    assert on_deleted_tiers() == 0


class DeleteTierOnce:
    """A query wrapper that deletes the tier after the form has validated it, before the transaction that saves."""

    def __init__(self, tier):
        self.tier = tier

    def __call__(self, execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if self.tier is not None and 'FROM "tiers"' in sql and "deleted_at" in sql:
            tier, self.tier = self.tier, None
            in_parallel(1, lambda _: tier.delete())
        return result


@pytest.mark.parametrize("way", [edit, add, set_tier, bulk])
def test_choosing_a_tier_deleted_meanwhile_is_an_error(root, way):
    client, tier, user = signed_in(root), Tier.objects.create(name="pro"), make_user("nina", tier=None)
    client.get("/users/")
    with connection.execute_wrapper(DeleteTierOnce(tier)):
        response = way(client, user, tier)
    tier.refresh_from_db()
    assert tier.deleted_at is not None
    if response.status_code == 302:
        response = client.get(response["Location"])
    text = response.content.decode()
    assert response.status_code == 200
    assert "deleted" in text or "Choose" in text or "valid choice" in text
    assert on_deleted_tiers() == 0
    assert not User.objects.filter(username__startswith="zoe").exists()


def author(root):
    return Author(root)


def on_tier(user, tier):
    user.tier_id = tier.pk
    return user


def assignments(root, tier):
    """Ways to assign a user or rate limit to a deleted tier in code."""
    nina = make_user("nina", tier=None)
    stale = Tier.objects.get(pk=tier.pk)
    tier.delete()
    return {
        "set_tier": lambda: services.set_tier(User.objects.filter(pk=nina.pk), author(root), stale),
        "create": lambda: services.create(
            User(username="zoe", email="z@example.com", name="Zoe", tier=stale), author(root)
        ),
        "create_user": lambda: User.objects.create_user("zoe", "z@example.com", tier=stale),
        "update": lambda: User.objects.filter(pk=nina.pk).update(tier=stale),
        "update by key": lambda: User.objects.filter(pk=nina.pk).update(tier=stale.pk),
        "update of the column": lambda: User.objects.filter(pk=nina.pk).update(tier_id=stale.pk),
        "bulk_update": lambda: User.objects.bulk_update([on_tier(nina, stale)], ["tier"]),
        "save the column": lambda: on_tier(nina, stale).save(update_fields=["tier_id"]),
        "save": lambda: User(pk=nina.pk, username="nina", email=nina.email, name="Nina", tier=stale).save(
            force_update=True
        ),
        "bulk_create": lambda: User.objects.bulk_create(
            [User(username="zoe", email="z@example.com", name="Z", tier=stale)]
        ),
        "limit": lambda: make_limit(stale),
        "limits": lambda: RateLimit.objects.bulk_create([RateLimit(tier=stale, name="x", path="/x", limit=1)]),
    }


WAYS = ["set_tier", "create", "create_user", "update", "update by key", "update of the column", "bulk_update", "save"]
WAYS += ["save the column", "bulk_create", "limit", "limits"]


@pytest.mark.parametrize("way", WAYS)
def test_assigning_a_deleted_tier_is_an_error(root, way):
    work = assignments(root, Tier.objects.create(name="pro"))[way]
    with pytest.raises(ConcurrentDeletion, match=r"The tier “pro” has just been deleted\. Choose another tier\."):
        work()
    assert on_deleted_tiers() == 0
    assert not User.objects.filter(username="zoe").exists()


def test_a_user_already_on_a_deleted_tier_can_be_saved(root):
    tier = Tier.objects.create(name="pro")
    nina = make_user("nina", tier=tier)
    Tier.objects.filter(pk=tier.pk).update(deleted_at="2026-01-01T00:00Z")
    nina.name = "Nina Novak"
    nina.save()
    nina.save(update_fields=["tier", "name"])
    assert User.objects.get(pk=nina.pk).name == "Nina Novak"


@pytest.mark.parametrize("what", ["user", "limit"])
def test_deleting_a_tier_waits_for_a_transaction_that_uses_it(root, what):
    tier = Tier.objects.create(name="pro")
    errors = []

    def delete(_):
        try:
            Tier.objects.get(pk=tier.pk).delete()
        except (ValidationError, OperationalError) as error:
            errors.append(error)

    def run():
        try:
            delete(None)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    with transaction.atomic():
        if what == "user":
            make_user("nina", tier=tier)
        else:
            make_limit(tier)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()
    thread.join()
    assert [type(error).__name__ for error in errors] == ["TierInUse"]
    tier.refresh_from_db()
    assert tier.deleted_at is None


def test_deleting_two_tiers_that_move_users_to_each_other_does_not_deadlock(root):
    for number in range(ROUNDS):
        pair = [Tier.objects.create(name=f"{side} {number}") for side in ("left", "right")]
        for side, tier in enumerate(pair):
            make_user(f"u{side}_{number}", tier=tier)

        def move(which, pair=pair):
            try:
                delete_tier(pair[which], Author(root), move_users_to=pair[1 - which])
            except ValidationError as error:
                return error.messages[0]
            return "deleted"

        answers = in_parallel(2, move)
        assert sorted(answers) == ["Choose another tier that isn't deleted.", "deleted"]
    assert on_deleted_tiers() == 0


def test_moving_users_from_and_to_a_tier_does_not_deadlock(root):
    client, other = signed_in(root), signed_in(root)
    target = Tier.objects.create(name="target")
    for number in range(ROUNDS):
        tier = Tier.objects.create(name=f"pro {number}")
        here = [make_user(f"u{number}_{place}", tier=tier) for place in range(5)]
        others = [make_user(f"v{number}_{place}", tier=None) for place in range(5)]
        pks = [user.pk for user in (*here, *others)]

        def work(which, tier=tier, pks=pks):
            if which:
                data = {"post": "yes", "move_users_to": target.pk}
                return client.post(f"/admin/tiers/tier/{tier.pk}/delete/", data).status_code
            data = {"action": "tier", "tier": tier.pk, "pk": pks, "expected": 5}
            return other.post("/users/bulk/", data).status_code

        assert set(in_parallel(2, work)) <= {200, 302}
        assert on_deleted_tiers() == 0


def test_copied_limits_do_not_end_up_on_a_deleted_tier(root):
    source = Tier.objects.create(name="source")
    for number in range(3):
        make_limit(source, f"/x{number}")
    client, other = signed_in(root), signed_in(root)
    for number in range(ROUNDS):
        tier = Tier.objects.create(name=f"pro {number}")

        def work(which, tier=tier):
            if which:
                return tier_page(client, tier).status_code
            return other.post("/admin/ratelimits/copy/", {"source": source.pk, "target": tier.pk}).status_code

        assert set(in_parallel(2, work)) <= {200, 302}
        tier.refresh_from_db()
        assert (tier.deleted_at is None) is tier.rate_limits.live().exists()


def test_copying_limits_to_a_deleted_tier_is_an_error(root, rf):
    source, target = Tier.objects.create(name="source"), Tier.objects.create(name="target")
    make_limit(source)
    stale = Tier.objects.get(pk=target.pk)
    target.delete()
    with pytest.raises(ConcurrentDeletion):
        copy_limits(source, stale, Author(root))
    assert RateLimit.objects.count() == 1


def test_a_restored_user_is_not_on_a_tier_deleted_meanwhile(root):
    client, other = signed_in(root), signed_in(root)
    for number in range(ROUNDS):
        tier = Tier.objects.create(name=f"pro {number}")
        nina = make_user(f"nina_{number}", tier=tier)
        nina.delete()

        def work(which, tier=tier, nina=nina):
            return (tier_page(client, tier) if which else other.post(f"/users/{nina.pk}/restore/")).status_code

        assert set(in_parallel(2, work)) <= {200, 302}
        nina.refresh_from_db()
        assert nina.deleted_at is None
        assert nina.tier.deleted_at is None
    assert get_user_model().objects.deleted().count() == 0
