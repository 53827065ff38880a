from __future__ import annotations

import secrets
import zoneinfo
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, PermissionsMixin
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinLengthValidator, MinValueValidator
from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.fields import NormalizedEmailField
from accounts.managers import UserManager
from accounts.validators import validate_time_zone, validate_username
from config.base.models import (
    DELETED,
    SoftDeleteModel,
    TimestampedModel,
    TimestampedQuerySet,
    lock_if_live,
    unique_among_live,
)
from config.base.paginator import DEFAULT_PAGE_SIZE, PAGE_SIZES
from config.base.search import FoldedField
from config.base.validators import validate_name
from tiers.models import Tier

DAY_OF_MONTH = "Enter a day of the month, from 1 to 31."
USERNAME_TAKEN = "Another user has this username. Choose another one."


def profile_image_path(user: User, filename: str) -> str:
    return f"profile-images/{user.pk}/{secrets.token_hex(16)}{Path(filename).suffix}"


class User(TimestampedModel, SoftDeleteModel, AbstractBaseUser, PermissionsMixin):
    class Theme(models.TextChoices):
        AUTO = "auto", "As your system"
        LIGHT = "light", "Light"
        DARK = "dark", "Dark"

    name = models.CharField(max_length=100, validators=[MinLengthValidator(2), validate_name])
    name_folded = FoldedField("name")
    username = models.CharField(
        max_length=32,
        validators=[MinLengthValidator(2), validate_username],
        help_text="2 to 32 characters: lowercase letters a to z, digits and underscores.",
        error_messages={"unique": USERNAME_TAKEN},
    )
    email = NormalizedEmailField("email address", max_length=254)
    profile_image = models.ImageField("picture", upload_to=profile_image_path, blank=True)
    tier = models.ForeignKey("tiers.Tier", models.SET_NULL, null=True, blank=True, related_name="users")
    tier_until = models.DateTimeField(
        "tier until",
        null=True,
        blank=True,
        help_text="After this, the user moves to the default tier. Leave empty for no end.",
    )
    billing_day = models.PositiveSmallIntegerField(
        default=1,
        db_default=1,
        validators=[MinValueValidator(1, DAY_OF_MONTH), MaxValueValidator(31, DAY_OF_MONTH)],
        help_text="Monthly rate limits reset on this day, or on the last day of a shorter month.",
    )
    is_active = models.BooleanField(
        "active",
        default=True,
        db_default=True,
        help_text="Clear this to suspend the user: they can't sign in, and their keys are denied.",
    )
    is_staff = models.BooleanField(
        "staff",
        default=False,
        db_default=False,
        help_text="Can open the staff pages and do what their permissions allow.",
    )
    time_zone = models.CharField(
        max_length=64, default="UTC", db_default="UTC", validators=[validate_time_zone], help_text="For times on pages."
    )
    rows_per_page = models.PositiveSmallIntegerField(
        default=DEFAULT_PAGE_SIZE, db_default=DEFAULT_PAGE_SIZE, choices=[(size, str(size)) for size in PAGE_SIZES]
    )
    theme = models.CharField(max_length=5, default=Theme.AUTO, db_default=Theme.AUTO, choices=Theme.choices)
    oauth_provider = models.CharField("sign-in provider", max_length=20, blank=True, db_default="", editable=False)
    google_id = models.CharField("Google id", max_length=255, null=True, blank=True, editable=False)
    github_id = models.CharField("GitHub id", max_length=255, null=True, blank=True, editable=False)
    session_epoch = models.PositiveIntegerField(
        default=0, db_default=0, editable=False, help_text="Increased to end all sessions and reset links."
    )
    erased_at = models.DateTimeField("erased", null=True, editable=False)

    live_parents = ("tier",)

    objects: ClassVar[UserManager] = UserManager()

    # From `set_password()` until the new password is saved, which ends all sessions and reset links.
    _password_is_new = False

    EMAIL_FIELD = "email"
    USERNAME_FIELD = "username"
    REQUIRED_FIELDS = ["email", "name"]

    class Meta:
        db_table = "user"
        ordering = ("-created_at", "-pk")
        constraints = (
            unique_among_live(
                "username",
                name="user_live_username_unique",
                message=USERNAME_TAKEN,
            ),
            unique_among_live("email", name="user_live_email_unique", message="Another user has this email address."),
            unique_among_live(
                "google_id",
                name="user_live_google_id_unique",
                message="Another user is connected to this Google account.",
            ),
            unique_among_live(
                "github_id",
                name="user_live_github_id_unique",
                message="Another user is connected to this GitHub account.",
            ),
            models.CheckConstraint(
                condition=models.Q(billing_day__gte=1, billing_day__lte=31),
                name="user_billing_day_in_month",
                violation_error_message=DAY_OF_MONTH,
            ),
            models.CheckConstraint(condition=models.Q(rows_per_page__gte=1), name="user_rows_per_page_positive"),
        )
        indexes = (
            models.Index(fields=("tier", "deleted_at"), name="user_tier_live"),
            models.Index(fields=("-created_at", "-id"), name="user_newest"),
            models.Index(fields=("deleted_at",), condition=DELETED, name="user_deleted"),
        )

    def __str__(self) -> str:
        return self.username

    def natural_key(self) -> tuple[str]:
        return (self.username,)

    def get_absolute_url(self) -> str:
        return reverse("users:detail", args=[self.pk])

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name.split()[0] if self.name.split() else self.username

    @property
    def is_effective(self) -> bool:
        """Whether the user can act now: live and not suspended."""
        return self.is_active and self.deleted_at is None

    @property
    def effective_tier(self) -> Any:
        """The user's tier now: the default one once theirs has ended; None if it's deleted, so the default limit applies."""
        if self.tier_has_ended:
            return Tier.objects.default()
        return self.tier if self.tier is not None and self.tier.deleted_at is None else None

    @property
    def tier_has_ended(self) -> bool:
        return self.tier_until is not None and self.tier_until <= timezone.now()

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        """The user's time zone; UTC if this machine doesn't know it."""
        try:
            return zoneinfo.ZoneInfo(self.time_zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            return zoneinfo.ZoneInfo("UTC")

    @property
    def color_scheme(self) -> str:
        """The CSS value of `color-scheme` for the theme."""
        return "light dark" if self.theme == self.Theme.AUTO else self.theme

    @property
    def state(self) -> str:
        if self.erased_at is not None:
            return "erased"
        if self.deleted_at is not None:
            return "deleted"
        return "active" if self.is_active else "suspended"

    @property
    def states(self) -> list[str]:
        role = "superuser" if self.is_superuser else "staff" if self.is_staff else ""
        return [word for word in (self.state, role) if word]

    @property
    def is_privileged(self) -> bool:
        return self.is_staff or self.is_superuser

    def restore(self, using: str | None = None) -> None:
        """Like `SoftDeleteModel.restore()`, but moves the user to the default tier if theirs is deleted."""
        refusal = ValidationError("An erased user can't be restored.", code="restore_erased")
        if self.erased_at is not None:
            raise refusal
        with transaction.atomic(using=using):
            tier = Tier.objects.filter(users=self.pk).first()
            if tier is not None and not lock_if_live(tier):
                self._as_queryset(using).deleted().update(tier=Tier.objects.default())
                self.refresh_from_db(fields=["tier"])
            super().restore(using)
            # After the update, which waits for someone who is erasing the user now.
            self.refresh_from_db(fields=["erased_at"])
            if self.erased_at is not None:
                raise refusal

    def end_sessions(self) -> None:
        """End all sessions and reset links of this user, starting with the next request."""
        type(self).objects.filter(pk=self.pk).update(session_epoch=models.F("session_epoch") + 1)
        self.refresh_from_db(fields=["session_epoch"])

    def suspend(self) -> None:
        type(self).objects.filter(pk=self.pk).update(is_active=False)
        self.refresh_from_db(fields=["is_active", "session_epoch"])

    def reactivate(self) -> None:
        type(self).objects.filter(pk=self.pk).update(is_active=True)
        self.refresh_from_db(fields=["is_active"])

    def set_password(self, raw_password: str | None) -> None:
        super().set_password(raw_password)
        self._password_is_new = self.pk is not None

    def save(self, **options: Any) -> None:
        """Like Django's, but a new password and a suspension end all sessions and reset links."""
        suspends = not self._state.adding and not self.is_active
        super().save(**options)
        if self._password_is_new or (suspends and "is_active" in (options.get("update_fields") or {"is_active"})):
            self._password_is_new = False
            self.end_sessions()

    def _fields_of_a_full_save(self) -> set[str]:
        # The epoch only ever increases: a stale instance must not set it back.
        return super()._fields_of_a_full_save() - {"session_epoch"}

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        # Like Django's, with the epoch: it ends sessions without a new password.
        salt = "accounts.models.User.get_session_auth_hash"
        return salted_hmac(salt, f"{self.password}:{self.session_epoch}", secret=secret, algorithm="sha256").hexdigest()


class SavedView(TimestampedModel):
    """query: the filters, search and order. columns: null for the viewer's own choice."""

    user = models.ForeignKey(User, models.CASCADE, related_name="saved_views")
    page = models.CharField(max_length=100)
    name = models.CharField(max_length=50, validators=[validate_name])
    query = models.CharField(max_length=2000, blank=True)
    columns = models.JSONField(null=True)
    is_shared = models.BooleanField(
        "shared", default=False, db_default=False, help_text="All staff who can open this list see it."
    )

    class Meta:
        db_table = "saved_views"
        verbose_name = "view"
        ordering = ("name", "pk")
        default_permissions = ()
        permissions = (("share_views", "Can share views of lists"),)
        constraints = (models.UniqueConstraint(fields=("user", "page", "name"), name="saved_views_unique"),)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return f"{reverse(self.page)}?{self.full_query}"

    @property
    def full_query(self) -> str:
        return "&".join(part for part in (self.query, f"view={self.pk}") if part)


class ListSetting(models.Model):
    """One user's settings for a list, which is named by its URL. columns: those to show; null for the default ones."""

    user = models.ForeignKey(User, models.CASCADE, related_name="list_settings")
    page = models.CharField(max_length=100)
    columns = models.JSONField(null=True)
    # What the list shows when it's opened without a query.
    default_view = models.ForeignKey(SavedView, models.SET_NULL, null=True, related_name="+")

    class Meta:
        db_table = "list_settings"
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=("user", "page"), name="list_settings_unique"),)

    def __str__(self) -> str:
        return f"{self.user}: {self.page}"


class BulkChangeQuerySet(TimestampedQuerySet["BulkChange"]):
    def unfinished(self) -> BulkChangeQuerySet:
        return self.filter(finished_at=None)


class BulkChange(TimestampedModel):
    """A change to thousands of users that a job makes in steps (accounts/staff/bulk.py), and its progress."""

    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    address = models.GenericIPAddressField(null=True)
    action = models.CharField(max_length=30)
    # For the action “tier”; None: no tier. Not a foreign key, so that a purged tier doesn't turn into “no tier”.
    tier_id = models.BigIntegerField(null=True)
    title = models.CharField(max_length=200)
    total = models.PositiveIntegerField()
    # done: changed. refused: couldn't be changed, for `reasons`. Others had nothing to change by then.
    handled = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    refused = models.PositiveIntegerField(default=0)
    reasons = models.JSONField(default=list)
    started_at = models.DateTimeField("started", null=True)
    finished_at = models.DateTimeField("finished", null=True)
    # Why the other users weren't changed.
    error = models.TextField(default="")
    # Marks its entries in the history; empty if it can't be undone.
    operation = models.CharField(max_length=20, default="", db_default="")
    undoes = models.OneToOneField("self", models.CASCADE, null=True, related_name="undone_by")

    objects: ClassVar[Any] = BulkChangeQuerySet.as_manager()

    class Meta:
        db_table = "bulk_changes"
        ordering = ("-pk",)
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.title}: {self.state}"

    def get_absolute_url(self) -> str:
        return reverse("users:change", args=[self.pk])

    @property
    def is_finished(self) -> bool:
        return self.finished_at is not None

    @property
    def state(self) -> str:
        if self.is_finished:
            return "stopped" if self.error else "succeeded"
        return "running" if self.started_at else "waiting"

    @property
    def unchanged(self) -> int:
        """Users who already were as requested, or whom the author may not change."""
        return self.handled - self.done - self.refused

    def finish(self, error: str = "") -> None:
        self.error, self.finished_at = error, timezone.now()
        self.steps.waiting().delete()
        self.save(update_fields=["error", "finished_at"])


class BulkStepQuerySet(models.QuerySet["BulkStep"]):
    def waiting(self) -> BulkStepQuerySet:
        return self.filter(last=None)


class BulkStep(models.Model):
    """The ids of users who haven't been changed yet, or a step to undo. Afterwards, what undo needs of this one."""

    change = models.ForeignKey(BulkChange, models.CASCADE, related_name="steps")
    users = models.JSONField()
    undoes = models.ForeignKey("self", models.CASCADE, null=True, related_name="+")
    # The ids of its entries in the history.
    first = models.BigIntegerField(null=True)
    last = models.BigIntegerField(null=True)

    objects: ClassVar[Any] = BulkStepQuerySet.as_manager()

    class Meta:
        db_table = "bulk_change_steps"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.change_id}: {len(self.users)}"
