"""A change by another request while a form is validated or a row is restored is an error message."""

from __future__ import annotations

import io

import pytest
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError
from django.forms import modelform_factory
from PIL import Image

from accounts.erasure import erase
from accounts.models import User
from accounts.staff.actions import Erase
from config.base.admin import GatehouseModelAdmin
from config.base.admin_soft_delete import SoftDeleteAdmin
from config.base.forms import LiveChoicesForm
from config.base.history import Author
from tests.accounts.people import messages
from tests.conftest import make_user
from tiers.models import Tier

pytestmark = pytest.mark.django_db


class SlowForm(LiveChoicesForm):
    """The tier is deleted after its field is validated, but before the form is."""

    class Meta:
        model = User
        fields = ("name", "tier")

    def clean(self):
        Tier.objects.filter(name="pro").delete()
        return super().clean()


def test_a_tier_deleted_during_validation_is_a_field_error(alice):
    pro = Tier.objects.create(name="pro")
    form = SlowForm({"name": "Alice", "tier": pro.pk}, instance=alice)
    assert form.errors == {"tier": ["“pro” has just been deleted. Choose another one."]}


def test_the_current_tier_is_accepted_even_if_deleted(free):
    pro = Tier.objects.create(name="pro")
    nina = make_user("nina", tier=pro)
    Tier.objects.filter(pk=pro.pk).update(deleted_at="2026-01-01T00:00Z")
    form = modelform_factory(User, LiveChoicesForm, fields=("name", "tier"))
    assert form({"name": "Nina N", "tier": pro.pk}, instance=nina).is_valid()


def test_a_name_taken_during_a_restore_is_a_validation_error(monkeypatch):
    first = Tier.objects.create(name="pro")
    first.delete()
    Tier.objects.create(name="pro")
    raise_conflict, calls = Tier._raise_conflict, []

    def skip_first_call(self):
        calls.append(self)
        if len(calls) > 1:
            raise_conflict(self)

    monkeypatch.setattr(Tier, "_raise_conflict", skip_first_call)
    with pytest.raises(ValidationError, match="can't be restored"):
        first.restore()
    assert len(calls) == 2
    monkeypatch.setattr(Tier, "_raise_conflict", lambda _: None)
    with pytest.raises(IntegrityError):
        first.restore()


def test_uploads_are_rewound_when_the_view_is_retried(rf, sue, monkeypatch):
    picture = io.BytesIO()
    Image.new("RGB", (2, 2)).save(picture, "PNG")
    request = rf.post("/", {"file": SimpleUploadedFile("a.png", picture.getvalue())})
    seen = []

    def django_view(self, request, *args, **kwargs):
        seen.append(request.FILES["file"].read())
        if len(seen) == 1:
            raise IntegrityError
        return "answer"

    monkeypatch.setattr("django.contrib.admin.ModelAdmin.changeform_view", django_view)
    section = GatehouseModelAdmin(User, admin.site)
    assert section.changeform_view(request) == "answer"
    assert seen[0] == seen[1] == picture.getvalue()


def test_soft_delete_admin_has_neutral_defaults(sue):
    section = SoftDeleteAdmin(Tier, admin.site)
    assert section.may_touch(sue, None)
    for action in section.row_actions:
        assert action.obstacle(Tier.objects.all()) == ""
        assert action.why_not(sue, None) == ""
    assert section.row_action("restore").effects(Tier.objects.all()) == ()


def test_a_row_that_changes_while_a_page_about_it_is_made_is_reported(staff_client, alice, sue, monkeypatch):
    effects = Erase.effects

    def too_late(self, rows):
        erase(alice, Author(sue))
        return effects(self, rows)

    monkeypatch.setattr(Erase, "effects", too_late)
    response = staff_client.get(f"/users/{alice.pk}/erase/", follow=True)
    assert response.redirect_chain == [(f"/users/{alice.pk}/", 302)]
    assert messages(response) == [f"Nothing to do: user “erased_{alice.pk}” is erased."]


def test_a_row_that_is_purged_while_a_page_about_it_is_made_is_not_found(staff_client, alice, monkeypatch):
    effects = Erase.effects

    def too_late(self, rows):
        alice.hard_delete()
        return effects(self, rows)

    monkeypatch.setattr(Erase, "effects", too_late)
    assert staff_client.get(f"/users/{alice.pk}/erase/").status_code == 404
