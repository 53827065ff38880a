"""`manage.py bootstrap` creates a tier, groups and a superuser, once, and never promotes an existing user."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command

from accounts.management.bootstrap import bootstrap
from accounts.models import User
from tests.conftest import make_user
from tests.parallel import in_parallel
from tiers.models import Tier

pytestmark = pytest.mark.django_db


def run(capsys):
    call_command("bootstrap")
    return capsys.readouterr().out


def test_a_new_installation_gets_a_tier_groups_and_a_superuser(capsys):
    output = run(capsys)
    assert 'Created tier "free".' in output
    admin = User.objects.get()
    assert (admin.username, admin.is_superuser, admin.is_staff) == ("admin", True, True)
    assert admin.tier == Tier.objects.get(name="free")
    assert set(Group.objects.values_list("name", flat=True)) == {"Support", "Auditor"}


def test_the_generated_password_is_printed_and_works(capsys):
    password = run(capsys).split("(shown only once): ")[1].strip()
    assert User.objects.get().check_password(password)


def test_a_second_run_changes_and_prints_nothing(capsys):
    run(capsys)
    before = User.objects.get().password
    assert run(capsys) == ""
    assert User.objects.get().password == before


def test_the_first_superuser_is_configured_by_settings(capsys, settings):
    settings.ADMIN_USERNAME, settings.ADMIN_EMAIL = "root_1", "Root@Example.com"
    settings.ADMIN_NAME, settings.ADMIN_PASSWORD = "Ruth Root", "a long enough pass phrase"
    output = run(capsys)
    admin = User.objects.get()
    assert (admin.username, admin.email, admin.name) == ("root_1", "root@example.com", "Ruth Root")
    assert admin.check_password("a long enough pass phrase")
    assert "a long enough pass phrase" not in output
    assert "shown only once" not in output


def test_an_existing_user_with_the_name_is_not_promoted(free, settings):
    settings.ADMIN_USERNAME = "mallory"
    make_user("mallory")
    with pytest.raises(CommandError, match="Set ADMIN_USERNAME"):
        call_command("bootstrap")
    assert not User.objects.filter(is_superuser=True).exists()


def test_a_weak_admin_password_is_rejected(settings):
    settings.ADMIN_PASSWORD = "password"
    with pytest.raises(CommandError, match="too common"):
        call_command("bootstrap")
    assert not User.objects.exists()
    assert not Tier.objects.exists()


def test_a_deleted_tier_stays_deleted(capsys):
    run(capsys)
    User.objects.update(tier=None)
    Tier.objects.get(name="free").delete()
    run(capsys)
    assert Tier.objects.live().count() == 0


def test_a_changed_group_is_not_reset(capsys):
    run(capsys)
    Group.objects.get(name="Support").permissions.clear()
    run(capsys)
    assert Group.objects.get(name="Support").permissions.count() == 0


def test_auditors_only_have_view_permissions(capsys):
    run(capsys)
    codenames = set(Group.objects.get(name="Auditor").permissions.values_list("codename", flat=True))
    assert {
        "view_user",
        "view_tier",
        "view_ratelimit",
        "view_apikey",
        "view_keyusage",
        "view_logentry",
        "view_group",
    } <= codenames
    assert all(codename.startswith("view_") for codename in codenames)


def test_support_can_also_change_users_and_stop_keys(capsys):
    run(capsys)
    codenames = Group.objects.get(name="Support").permissions.exclude(codename__startswith="view_")
    assert set(codenames.values_list("codename", flat=True)) == {"change_user", "stop_apikey"}


def test_creating_the_superuser_is_recorded(capsys):
    run(capsys)
    entry = LogEntry.objects.get()
    assert "manage.py bootstrap" in entry.change_message


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("present", [False, True])
def test_several_nodes_can_run_bootstrap_at_once(present):
    Tier.objects.all().hard_delete()
    if present:
        Tier.objects.create(name="free")
    created = in_parallel(4, lambda number: bootstrap())
    assert [one.username for one in created if one.username] == ["admin"]
    assert User.objects.get().tier == Tier.objects.get(name="free")
