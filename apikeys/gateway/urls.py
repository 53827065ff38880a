"""URLs for machines. GatewayMiddleware answers /authz/ before Django resolves a URL; they stand here to be reversed."""

from __future__ import annotations

from django.urls import path, re_path

from apikeys.gateway import whoami
from apikeys.gateway.endpoints import ask

urlpatterns = [
    path("authz/nginx", ask, name="authz_nginx"),
    path("authz/traefik", ask, name="authz_traefik"),
    path("authz/caddy", ask, name="authz_caddy"),
    re_path(r"^authz/envoy/(?P<path>.*)$", ask, name="authz_envoy"),
    path("authz/verify", ask, name="authz_verify"),
    path("authz/usage", ask, name="authz_usage"),
    path("authz/openapi.json", ask, name="authz_openapi"),
    path("api/v1/whoami", whoami.whoami, name="whoami"),
]
