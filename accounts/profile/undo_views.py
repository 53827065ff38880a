"""/account/undo/: undo the last edit of your own profile."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils.decorators import method_decorator

from accounts import services
from accounts.managers import UserQuerySet
from accounts.models import User
from accounts.profile.forms import ProfileForm
from config.base.actions import UndoView
from config.base.edits import PutBack
from config.base.history import Author
from config.base.undo import Operation


class ChangeOwnBack(PutBack):
    done = "your last edit."

    def may(self, user: Any, model: Any) -> bool:
        return True  # to themselves

    def put_back(self, row: User, author: Author, operation: Operation) -> None:
        former = operation.former_of(row)
        if former.keys() - set(ProfileForm.Meta.fields):
            raise ValidationError("You can't undo this here.")
        services.change_back(row, former, author)


@method_decorator(login_required, name="dispatch")
class ProfileUndoView(UndoView):
    undo_actions = (ChangeOwnBack(),)

    def get_queryset(self) -> UserQuerySet:
        users: UserQuerySet = User.objects.filter(pk=self.request.user.pk)
        return users

    def page_url(self, page: str, row: Any = None) -> str:
        return reverse("account:profile")
