"""Encryption of secrets that must be read again, such as those of authenticator apps.

The key is derived from SECRET_KEY; SECRET_KEY_FALLBACKS decrypt what older keys encrypted.
"""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, MultiFernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

PURPOSE = b"gatehouse second factors"


def encrypt(text: str) -> str:
    return ciphers().encrypt(text.encode()).decode()


def decrypt(token: str) -> str:
    """Raises cryptography.fernet.InvalidToken if none of our keys encrypted it."""
    return ciphers().decrypt(token.encode()).decode()


def ciphers() -> MultiFernet:
    return MultiFernet([cipher(secret) for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)])


def cipher(secret: str) -> Fernet:
    """A cipher whose key is derived from `secret` by HKDF (RFC 5869)."""
    key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=PURPOSE).derive(secret.encode())
    return Fernet(base64.urlsafe_b64encode(key))
