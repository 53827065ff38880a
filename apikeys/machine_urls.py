"""URLs for machines. GatewayMiddleware answers /authz/ before Django resolves a URL; they stand here to be reversed."""

from __future__ import annotations

from django.urls import path, re_path

from apikeys import endpoints, whoami

urlpatterns = [
    path("authz/nginx", endpoints.nginx, name="authz_nginx"),
    path("authz/traefik", endpoints.traefik, name="authz_traefik"),
    path("authz/caddy", endpoints.caddy, name="authz_caddy"),
    re_path(r"^authz/envoy/(?P<path>.*)$", endpoints.envoy, name="authz_envoy"),
    path("authz/verify", endpoints.verify_key, name="authz_verify"),
    path("authz/usage", endpoints.report_usage, name="authz_usage"),
    path("authz/openapi.json", endpoints.schema, name="authz_openapi"),
    path("api/v1/whoami", whoami.whoami, name="whoami"),
]
