"""/users/<pk>/access/: superusers decide who is staff, and can't lock themselves out. Other staff can only view it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission

from accounts.models import User
from accounts.staff.forms import AccessForm
from tests.accounts.people import ALL_USER_PERMISSIONS, history, messages, signed_in
from tests.conftest import make_user
from tests.pages import opened, text_of
from tests.rows import make_staff

pytestmark = pytest.mark.django_db


def url(user):
    return f"/users/{user.pk}/access/"


def test_a_superuser_can_make_a_user_staff(staff_client, alice):
    group = Group.objects.create(name="Night shift")
    permission = Permission.objects.get(codename="view_tier")
    sent = opened(staff_client, url(alice), "_opened")
    sent |= {"is_staff": "on", "groups": [group.pk], "user_permissions": [permission.pk]}
    response = staff_client.post(url(alice), sent, follow=True)
    assert messages(response) == ["Staff access of “alice” updated."]
    alice.refresh_from_db()
    assert (alice.is_staff, alice.is_superuser) == (True, False)
    assert list(alice.groups.all()) == [group]
    assert alice.has_perm("tiers.view_tier")
    fields = {change["field"] for change in history(alice)[0].values}
    assert {"staff", "groups"} <= fields


def test_an_empty_form_removes_all_access(staff_client):
    tom = make_staff("tom", "view_user")
    staff_client.post(url(tom), {})
    tom = User.objects.get(pk=tom.pk)
    assert not tom.is_staff
    assert not tom.user_permissions.exists()
    assert "Nothing changed." in messages(staff_client.post(url(tom), {}, follow=True))


def test_staff_who_are_not_superusers_can_only_view_access(alice, sue):
    tom = make_staff("tom", *ALL_USER_PERMISSIONS)
    client = signed_in(tom)
    tom.groups.add(Group.objects.create(name="Night shift"))
    page = text_of(client.get(url(tom)))
    assert "Night shift" in page
    assert "View user" in page
    assert "Only superusers can change this." in page
    assert 'name="is_staff"' not in page
    for user in (alice, sue, tom):
        assert client.get(url(user)).status_code == 200
        response = client.post(url(user), {"is_staff": "on", "is_superuser": "on"})
        assert response.status_code == 403
    assert User.objects.filter(is_superuser=True).get() == sue
    assert set(User.objects.filter(is_staff=True)) == {sue, tom}


def test_superusers_cannot_remove_their_own_access(staff_client, sue):
    form = staff_client.get(url(sue)).context["form"]
    assert {name for name, field in form.fields.items() if field.disabled} == {"is_staff", "is_superuser"}
    staff_client.post(url(sue), {})
    sue.refresh_from_db()
    assert sue.is_staff
    assert sue.is_superuser


def test_a_superuser_can_demote_another_superuser(staff_client, sue):
    other = make_user("other", is_staff=True, is_superuser=True)
    staff_client.post(url(other), {"is_staff": "on"})
    other.refresh_from_db()
    assert not other.is_superuser
    assert User.objects.superusers().get() == sue


def test_a_superuser_who_just_lost_access_cannot_demote_the_last_one(sue):
    other = make_user("other", is_staff=True, is_superuser=True)
    User.objects.filter(pk=sue.pk).update(is_superuser=False)
    form = AccessForm({"is_staff": "on"}, instance=User.objects.get(pk=other.pk), actor=sue)
    assert not form.is_valid()
    assert "last superuser" in str(form.errors)


def test_access_of_a_deleted_user_cannot_be_changed(staff_client, alice):
    alice.delete()
    page = text_of(staff_client.get(url(alice)))
    assert "Restore this user to change their access." in page
    assert staff_client.post(url(alice), {"is_staff": "on"}).status_code == 403


def test_a_permission_that_is_not_offered_is_kept(staff_client, alice):
    odd = Permission.objects.get(codename="add_session")
    alice.user_permissions.add(odd)
    staff_client.post(url(alice), opened(staff_client, url(alice), "_opened") | {"is_staff": "on"})
    assert list(User.objects.get(pk=alice.pk).user_permissions.all()) == [odd]


@pytest.mark.parametrize("field", ["groups", "user_permissions"])
@pytest.mark.parametrize("value", ["x", "9" * 30, "-1", "\x00"])
def test_invalid_choices_are_rejected(staff_client, alice, field, value):
    response = staff_client.post(url(alice), {"is_staff": "on", field: [value]})
    assert response.status_code in {200, 400}
    assert not User.objects.get(pk=alice.pk).is_staff


def test_the_pages_of_a_user_are_tabs(staff_client, alice):
    for page, tab in ((f"/users/{alice.pk}/", "Overview"), (url(alice), "Staff access")):
        html = text_of(staff_client.get(page))
        assert f'aria-current="page">{tab}</a>' in html
        assert url(alice) in html


def test_the_number_of_queries_does_not_grow_with_groups_and_permissions(
    staff_client, alice, django_assert_max_num_queries
):
    for number in range(5):
        alice.groups.add(Group.objects.create(name=f"g{number}"))
    alice.user_permissions.set(Permission.objects.all()[:20])
    staff_client.get(url(alice))
    with django_assert_max_num_queries(12):
        staff_client.get(url(alice))
