"""/accounts/: allauth's URLs, as far as the project has a use for them."""

from __future__ import annotations

from django.urls import include, path

from accounts import signin_views as views

PROVIDERS = ("google", "github")

urlpatterns = [
    path("signup/", views.SignupView.as_view(), name="account_signup"),
    path("email/", views.EmailView.as_view(), name="account_email"),
    path("password/set/", views.password_set, name="account_set_password"),
    path("sessions/", views.SessionsView.as_view(), name="usersessions_list"),
    path("sessions/<int:pk>/end/", views.end_session, name="end_session"),
    *(
        path(
            f"{provider}/login/{tail}", views.provider_view, {"provider": provider, "step": step}, f"{provider}_{step}"
        )
        for provider in PROVIDERS
        for tail, step in (("", "login"), ("callback/", "callback"))
    ),
    path("", include("allauth.account.urls")),
    path("2fa/", include("allauth.mfa.urls")),
    path("3rdparty/", include("allauth.socialaccount.urls")),
]
