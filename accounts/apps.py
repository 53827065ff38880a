from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = "Users"

    def ready(self) -> None:
        # Models can't be imported before the apps are ready.
        from allauth.socialaccount.signals import social_account_added, social_account_removed  # noqa: PLC0415

        from accounts.signin.providers import on_social_account_changed  # noqa: PLC0415

        social_account_added.connect(on_social_account_changed, dispatch_uid="fill_oauth_columns")
        post_migrate.connect(repair_text_index, sender=self, dispatch_uid="repair_text_index")
        social_account_removed.connect(on_social_account_changed, dispatch_uid="clear_oauth_columns")


def repair_text_index(using: str, **kwargs: Any) -> None:
    # Models can't be imported before the apps are ready.
    from accounts.managers import text_index  # noqa: PLC0415

    text_index.repair(using)
