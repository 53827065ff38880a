"""What counts as using a tier, and that a tier in use can't be deleted."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, transaction

from config.base.history import Author
from ratelimits.models import RateLimit
from tests.config.base.test_admin_lists import queries
from tests.conftest import make_user
from tests.rows import make_limit
from tiers.models import Tier, TierInUse
from tiers.services import delete_tier, move_users

pytestmark = pytest.mark.django_db
LIST = "/admin/tiers/tier/"


def use(pro, kind):
    """Create a user or a rate limit that uses the tier."""
    return make_user("nina", tier=pro) if kind == "user" else make_limit(pro)


each_kind = pytest.mark.parametrize("kind", ["user", "limit"])


# --- What counts ---


@each_kind
def test_live_users_and_live_limits_use_a_tier(pro, kind):
    assert not Tier.objects.filter(pk=pro.pk).in_use().exists()
    row = use(pro, kind)
    assert Tier.objects.in_use().get() == pro
    row.delete()
    assert not Tier.objects.in_use().exists()


def test_with_use_counts_counts_live_users_and_limits(pro):
    for number in range(3):
        make_user(f"user{number}", tier=pro)
    for number in range(2):
        make_limit(pro, f"/place{number}/*")
    make_user("gone", tier=pro).delete()
    make_limit(pro, "/gone").delete()
    counted = Tier.objects.with_use_counts().get(pk=pro.pk)
    assert (counted.user_count, counted.limit_count) == (3, 2)


def test_counts_of_an_unused_tier_are_zero(pro):
    counted = Tier.objects.with_use_counts().get(pk=pro.pk)
    assert (counted.user_count, counted.limit_count) == (0, 0)


# --- Deleting ---


@each_kind
@pytest.mark.parametrize("method", ["delete", "hard_delete"])
def test_a_tier_in_use_cannot_be_deleted(pro, kind, method):
    use(pro, kind)
    idle = Tier.objects.create(name="idle")
    for target in (pro, Tier.objects.filter(pk__in=[pro.pk, idle.pk])):
        with pytest.raises(TierInUse, match="The tier “pro” can't be deleted"):
            getattr(target, method)()
    assert set(Tier.objects.live()) == {pro, idle}


@pytest.mark.parametrize(
    ("users", "limits", "message"),
    [(1, 0, "1 user and 0 rate limits use it"), (2, 1, "2 users and 1 rate limit use it")],
)
def test_the_error_says_how_many_use_it_and_what_to_do(pro, users, limits, message):
    for number in range(users):
        make_user(f"user{number}", tier=pro)
    for number in range(limits):
        make_limit(pro, f"/place{number}")
    with pytest.raises(TierInUse) as error:
        pro.delete()
    assert message in str(error.value)
    assert "Move the users to another tier and delete the rate limits first." in str(error.value)


def test_a_foreign_key_protects_a_tier_with_users(pro):
    make_user("nina", tier=pro)
    with transaction.atomic():
        Tier.objects.filter(pk=pro.pk)._raw_delete("default")
        with pytest.raises(IntegrityError):
            connection.check_constraints()
        transaction.set_rollback(True)
    assert Tier.objects.live().filter(pk=pro.pk).exists()


def test_only_the_name_of_a_deleted_tier_can_be_used_again(pro):
    pro.delete()
    again = Tier.objects.create(name="pro")
    with pytest.raises(ValidationError, match="Another tier has this name"):
        Tier(name="pro").full_clean()
    with pytest.raises(ValidationError, match="can't be restored"):
        pro.restore()
    again.delete()
    pro.restore()
    assert Tier.objects.live().get(name="pro") == pro


# --- Moving ---


def test_move_users_only_moves_live_users_and_records_it(pro, free, sue):
    nina, gone, other = make_user("nina", tier=pro), make_user("gone", tier=pro), make_user("other", tier=free)
    gone.delete()
    assert move_users(pro, free, Author(sue)) == 1
    for user, tier in ((nina, free), (gone, pro), (other, free)):
        user.refresh_from_db()
        assert user.tier == tier
    message = LogEntry.objects.get(object_id=str(nina.pk), content_type__model="user").change_message
    assert "pro" in message
    assert "free" in message
    assert LogEntry.objects.filter(content_type__model="user").count() == 1


def test_delete_tier_can_delete_its_limits(pro, free, sue):
    mine, others = make_limit(pro), make_limit(free)
    delete_tier(pro, Author(sue), delete_limits=True)
    assert list(RateLimit.objects.live()) == [others]
    assert Tier.objects.live().filter(pk=pro.pk).count() == 0
    assert (
        "Deleted with its tier."
        in LogEntry.objects.get(object_id=str(mine.pk), content_type__model="ratelimit").change_message
    )


# --- The tier of new users ---


@pytest.mark.parametrize(("name", "found"), [("pro", True), ("Pro", False), ("none of them", False), ("", False)])
def test_the_default_tier_is_found_by_name(pro, settings, name, found):
    settings.DEFAULT_TIER_NAME = name
    assert (Tier.objects.default() == pro) == found


def test_a_deleted_tier_is_not_the_default(pro, settings):
    settings.DEFAULT_TIER_NAME = "pro"
    pro.delete()
    assert Tier.objects.default() is None


# --- The list ---


def test_the_number_of_queries_does_not_grow_with_tiers(staff_client, pro):
    queries(staff_client, LIST)  # warm up caches of the process
    one = queries(staff_client, LIST)
    for number in range(20):
        tier = Tier.objects.create(name=f"tier {number}")
        make_user(f"user{number}", tier=tier)
        make_limit(tier)
    assert len(queries(staff_client, LIST)) == len(one)


def test_counts_in_the_list_link_to_their_rows(staff_client, pro):
    make_user("nina", tier=pro)
    make_limit(pro)
    page = staff_client.get(LIST).content.decode()
    users, limits = f"/users/?tier={pro.pk}", f"/admin/ratelimits/ratelimit/?tier__id__exact={pro.pk}"
    for link in (users, limits):
        assert f'<a href="{link}">1</a>' in page
    assert len(staff_client.get(users).context["rows"]) == 1
    assert staff_client.get(limits).context["cl"].result_count == 1


@pytest.mark.parametrize(("term", "names"), [("pr", ["pro"]), ("WEEKENDS", ["hobby"]), ("nothing like it", [])])
def test_search_finds_names_and_descriptions(staff_client, pro, term, names):
    Tier.objects.create(name="hobby", description="For weekends.")
    found = staff_client.get(LIST, {"q": term}).context["cl"].queryset
    assert [tier.name for tier in found] == names
