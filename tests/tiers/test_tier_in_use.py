"""What counts as using a tier, and that a tier in use can't be deleted in any way."""

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
    """Create and return something that uses the tier."""
    return make_user("nina", tier=pro) if kind == "account" else make_limit(pro)


each_kind = pytest.mark.parametrize("kind", ["account", "limit"])


# --- What counts ---


@each_kind
def test_live_accounts_and_live_limits_use_a_tier(pro, kind):
    assert not Tier.objects.filter(pk=pro.pk).in_use().exists()
    user_of_it = use(pro, kind)
    assert Tier.objects.in_use().get() == pro
    user_of_it.delete()
    assert not Tier.objects.in_use().exists()


def test_the_counts_are_of_live_rows_and_do_not_multiply_each_other(pro):
    for number in range(3):
        make_user(f"user{number}", tier=pro)
    for number in range(2):
        make_limit(pro, f"/place{number}/*")
    make_user("gone", tier=pro).delete()
    make_limit(pro, "/gone").delete()
    counted = Tier.objects.with_use_counts().get(pk=pro.pk)
    assert (counted.user_count, counted.limit_count) == (3, 2)


def test_a_tier_that_nobody_uses_counts_nought(pro):
    counted = Tier.objects.with_use_counts().get(pk=pro.pk)
    assert (counted.user_count, counted.limit_count) == (0, 0)


# --- Deleting ---


@each_kind
@pytest.mark.parametrize("how", ["delete", "hard_delete"])
def test_neither_the_row_nor_a_set_of_rows_deletes_a_tier_in_use(pro, kind, how):
    use(pro, kind)
    idle = Tier.objects.create(name="idle")
    for target in (pro, Tier.objects.filter(pk__in=[pro.pk, idle.pk])):
        with pytest.raises(TierInUse, match="The tier “pro” can't be deleted"):
            getattr(target, how)()
    assert set(Tier.objects.live()) == {pro, idle}


@pytest.mark.parametrize(
    ("users", "limits", "said"),
    [(1, 0, "1 user and 0 rate limits use it"), (2, 1, "2 users and 1 rate limit use it")],
)
def test_the_refusal_says_how_many_use_it_and_what_to_do(pro, users, limits, said):
    for number in range(users):
        make_user(f"user{number}", tier=pro)
    for number in range(limits):
        make_limit(pro, f"/place{number}")
    with pytest.raises(TierInUse) as refusal:
        pro.delete()
    assert said in str(refusal.value)
    assert "Move the users to another tier and delete the rate limits first." in str(refusal.value)


def test_the_database_itself_keeps_a_tier_that_an_account_points_at(pro):
    make_user("nina", tier=pro)
    with transaction.atomic():
        Tier.objects.filter(pk=pro.pk)._raw_delete("default")
        with pytest.raises(IntegrityError):
            connection.check_constraints()
        transaction.set_rollback(True)
    assert Tier.objects.live().filter(pk=pro.pk).exists()


def test_a_deleted_tiers_name_is_free_again_and_a_live_ones_is_not(pro):
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


def test_moving_leaves_deleted_accounts_and_other_tiers_alone_and_is_told_of_each(pro, free, sue):
    nina, gone, other = make_user("nina", tier=pro), make_user("gone", tier=pro), make_user("other", tier=free)
    gone.delete()
    assert move_users(pro, free, Author(sue)) == 1
    for user, tier in ((nina, free), (gone, pro), (other, free)):
        user.refresh_from_db()
        assert user.tier == tier
    told = LogEntry.objects.get(object_id=str(nina.pk), content_type__model="user").change_message
    assert "pro" in told
    assert "free" in told
    assert LogEntry.objects.filter(content_type__model="user").count() == 1


def test_deleting_with_its_limits_takes_just_those(pro, free, sue):
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
def test_the_default_tier_is_the_live_one_of_that_name(pro, settings, name, found):
    settings.DEFAULT_TIER_NAME = name
    assert (Tier.objects.default() == pro) == found


def test_a_deleted_tier_is_nobodys_default(pro, settings):
    settings.DEFAULT_TIER_NAME = "pro"
    pro.delete()
    assert Tier.objects.default() is None


# --- The list ---


def test_the_list_asks_as_often_for_many_tiers_as_for_one(staff_client, pro):
    queries(staff_client, LIST)  # queries that run only once in a process
    one = queries(staff_client, LIST)
    for number in range(20):
        tier = Tier.objects.create(name=f"tier {number}")
        make_user(f"user{number}", tier=tier)
        make_limit(tier)
    assert len(queries(staff_client, LIST)) == len(one)


def test_the_list_links_each_count_to_the_rows_counted(staff_client, pro):
    make_user("nina", tier=pro)
    make_limit(pro)
    page = staff_client.get(LIST).content.decode()
    users, limits = f"/users/?tier={pro.pk}", f"/admin/ratelimits/ratelimit/?tier__id__exact={pro.pk}"
    for link in (users, limits):
        assert f'<a href="{link}">1</a>' in page
    assert len(staff_client.get(users).context["rows"]) == 1
    assert staff_client.get(limits).context["cl"].result_count == 1


@pytest.mark.parametrize(("term", "names"), [("pr", ["pro"]), ("WEEKENDS", ["hobby"]), ("nothing like it", [])])
def test_a_search_looks_at_name_and_description(staff_client, pro, term, names):
    Tier.objects.create(name="hobby", description="For weekends.")
    found = staff_client.get(LIST, {"q": term}).context["cl"].queryset
    assert [tier.name for tier in found] == names
