"""A small OAuth 2 and OpenID Connect provider on localhost, with PKCE and signed ID tokens.

It works as Google does (an ID token) and as GitHub does (two API calls).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT_ID, CLIENT_SECRET = "gatehouse", "only-for-tests"


@dataclass
class Person:
    """The user who is signed in at the provider."""

    uid: str = "1001"
    email: str = "dora@example.com"
    verified: bool = True
    name: str = "Dora Diaz"
    login: str = "dora"
    extra: dict[str, Any] = field(default_factory=dict)

    def as_claims(self) -> dict[str, Any]:
        given, _, family = self.name.partition(" ")
        return {
            "sub": self.uid,
            "email": self.email,
            "email_verified": self.verified,
            "given_name": given,
            "family_name": family,
            "name": self.name,
        } | self.extra

    def as_github_user(self) -> dict[str, Any]:
        return {"id": self.uid, "login": self.login, "name": self.name, "email": None} | self.extra

    def as_github_emails(self) -> list[dict[str, Any]]:
        return [{"email": self.email, "primary": True, "verified": self.verified}] if self.email else []


class Provider:
    """A context manager: the provider runs at `provider.url` inside the block."""

    def __init__(self) -> None:
        self.person = Person()
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: set[str] = set()
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler_for(self))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def authorize(self, query: dict[str, str]) -> str:
        """Consent without asking. Return the URL that the browser is redirected to."""
        assert query["client_id"] == CLIENT_ID
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe()
        self.codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def exchange(self, form: dict[str, str]) -> dict[str, Any] | None:
        """Exchange a code for tokens, once, and only with the matching PKCE verifier. Return None if refused."""
        asked = self.codes.pop(form.get("code", ""), None)
        verifier = form.get("code_verifier", "").encode()
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).rstrip(b"=").decode()
        if (
            asked is None
            or form.get("client_secret") != CLIENT_SECRET
            or asked["redirect_uri"] != form.get("redirect_uri")
            or asked["code_challenge"] != challenge
        ):
            return None
        token = secrets.token_urlsafe()
        self.tokens.add(token)
        return {"access_token": token, "token_type": "bearer", "expires_in": 3600, "id_token": self.id_token()}

    def id_token(self) -> str:
        now = int(time.time())
        claims = {"iss": "https://accounts.google.com", "aud": CLIENT_ID, "iat": now, "exp": now + 600}
        return jwt.encode(self.person.as_claims() | claims, self.key, algorithm="RS256")

    def resource(self, path: str) -> Any:
        return {
            "/user": self.person.as_github_user,
            "/user/emails": self.person.as_github_emails,
        }[path]()


def handler_for(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path == "/authorize":
                self.send_response(302)
                self.send_header("Location", provider.authorize(single(parts.query)))
                self.end_headers()
            elif self.headers.get("Authorization", "").removeprefix("token ") in provider.tokens:
                self.answer(200, provider.resource(parts.path))
            else:
                self.answer(401, {"error": "invalid_token"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            tokens = provider.exchange(single(body))
            self.answer(200 if tokens else 400, tokens or {"error": "invalid_grant"})

        def answer(self, status: int, body: Any) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    return Handler


def single(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
