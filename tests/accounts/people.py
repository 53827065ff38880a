"""What the tests of the people pages share: staff with few rights, keys, and the history of an account."""

from __future__ import annotations

import hashlib

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client

from apikeys.models import APIKey, KeyUsage
from config.base_history import told
from tests.conftest import make_user

EVERY_RIGHT = ("view_user", "add_user", "change_user", "delete_user")


def make_staff(name, *codenames):
    """Staff who are not superusers, with these permissions on accounts."""
    user = make_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames, content_type__app_label="accounts"))
    return user


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


def make_key(user, name="export", **fields):
    secret_hash = hashlib.sha256(f"{user.pk} {name}".encode()).hexdigest()
    return APIKey.objects.create(
        user=user, name=name, prefix="gate_Ab3dE1", last4="9xYz", secret_hash=secret_hash, pepper_id="1", **fields
    )


def make_event(key, **fields):
    values = {
        "endpoint": "/orders",
        "method": "GET",
        "status_code": 200,
        "ip_address": "192.0.2.7",
        "user_agent": "curl",
    }
    return KeyUsage.objects.create(api_key=key, user=key.user, **values | fields)


def history(user):
    """What the history says of an account, newest first: sentences, and old → new."""
    entries = LogEntry.objects.filter(content_type__model="user", object_id=str(user.pk)).order_by("-pk")
    return [told(entry) for entry in entries]


def messages(response):
    return [str(message) for message in response.context["messages"]]
