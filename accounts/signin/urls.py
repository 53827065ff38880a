"""/accounts/: allauth's URLs, as far as we use them."""

from __future__ import annotations

from allauth.mfa.totp.views import activate_totp
from allauth.mfa.webauthn.views import add_webauthn
from django.urls import include, path, re_path

from accounts.signin import views
from config.base.views import retry_on_conflict

PROVIDERS = ("google", "github")

urlpatterns = [
    path("signup/", views.SignupView.as_view(), name="account_signup"),
    re_path(r"^confirm-email/(?P<key>[-:\w]+)/$", views.ConfirmEmailView.as_view(), name="account_confirm_email"),
    re_path(
        r"^password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        views.PasswordResetFromKeyView.as_view(),
        name="account_reset_password_from_key",
    ),
    path("email/", views.EmailView.as_view(), name="account_email"),
    path("password/set/", views.password_set, name="account_set_password"),
    path("sessions/", views.SessionsView.as_view(), name="usersessions_list"),
    path("sessions/<int:pk>/end/", include(([path("", views.end_session, name="end")], "sessions"))),
    *(
        path(
            f"{provider}/login/{tail}", views.provider_view, {"provider": provider, "step": step}, f"{provider}_{step}"
        )
        for provider in PROVIDERS
        for tail, step in (("", "login"), ("callback/", "callback"))
    ),
    # Two tabs may set up the app or the recovery codes at the same time.
    path("2fa/totp/activate/", retry_on_conflict(activate_totp), name="mfa_activate_totp"),
    path("2fa/webauthn/add/", retry_on_conflict(add_webauthn), name="mfa_add_webauthn"),
    path("", include("allauth.account.urls")),
    path("2fa/", include("allauth.mfa.urls")),
    path("3rdparty/", include("allauth.socialaccount.urls")),
]
