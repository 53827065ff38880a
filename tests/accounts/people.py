"""Helpers for tests about users: a signed-in client, keys, usage, a user's history."""

from __future__ import annotations

from django.contrib.admin.models import LogEntry
from django.test import Client

from config.base.history import describe
from tests import rows

ALL_USER_PERMISSIONS = ("view_user", "add_user", "change_user", "delete_user")


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


def make_key(user, name="export", **fields):
    return rows.make_key(user, name, allow=(), **{"prefix": "gate_Ab3dE1", "last4": "9xYz", **fields})


def make_event(key, **fields):
    return rows.make_usage(key, **{"ip_address": "192.0.2.7", "user_agent": "curl", **fields})


def history(user):
    """A user's history entries, newest first, as pages show them."""
    entries = LogEntry.objects.filter(content_type__model="user", object_id=str(user.pk)).order_by("-pk")
    return [describe(entry) for entry in entries]


def messages(response):
    return [str(message) for message in response.context["messages"]]
