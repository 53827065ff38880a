"""Stored JSON can be shown on pages, in forms and in exports, on both databases."""

from __future__ import annotations

import json

import pytest
from django.core.exceptions import ValidationError

from apikeys.models import KeyUsage
from config.base.json import MAX_DEPTH, json_problem
from tests.apikeys.conftest import make_key


def nested(levels, kind=dict):
    value = "the end"
    for _ in range(levels):
        value = {"a": value} if kind is dict else [value]
    return value


@pytest.fixture
def event(verify, key):
    verify(key=key.secret, method="GET", path="/orders")
    return KeyUsage.objects.get()


@pytest.fixture
def report(client, event):
    def report(metadata):
        text = metadata if isinstance(metadata, str) else json.dumps(metadata)
        body = f'[{{"event_id": "{event.pk}", "metadata": {text}}}]'
        return client.post("/authz/usage", body, content_type="application/json")

    return report


@pytest.mark.parametrize(
    "metadata",
    [
        nested(MAX_DEPTH + 1),
        nested(930),
        {"a": nested(MAX_DEPTH, list)},
        {"a": nested(900, list)},
    ],
)
def test_report_with_deeply_nested_metadata_is_rejected(report, metadata):
    response = report(metadata)
    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    assert response.json()["detail"] == f"Event 0: metadata must be nested at most {MAX_DEPTH} levels deep."
    assert KeyUsage.objects.get().metadata is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": ' * 50_000 + "1" + "}" * 50_000, "not valid JSON"),
        ('{"a": 1e400}', "the range of a float"),
        ('{"a": ' + "9" * 400 + "}", "the range of a float"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ('{"a": NaN}', "not valid JSON"),
        ('{"a": "\\u0000"}', "NUL"),
        ('{"\\ud800": 1}', "surrogate"),
        ('{"a": "' + "x" * 10_000 + '"}', "at most 10,000 characters"),
        ("[1]", "must be a JSON object"),
    ],
    ids=lambda value: value[:20],
)
def test_report_with_invalid_metadata_is_rejected(report, text, words):
    response = report(text)
    assert response.status_code == 400
    assert words in response.json()["detail"]
    assert KeyUsage.objects.get().metadata is None


VALID = [
    nested(MAX_DEPTH),
    {"a": 10**300, "b": -(10**30), "c": 1e-300, "d": 2**63},
    {"path": "C:\\u0000", "half": "\\ud800", "emoji": "👩‍👩‍👧"},
    {str(number): "<script>" for number in range(500)},
]


@pytest.mark.parametrize("metadata", VALID, ids=["deep", "numbers", "backslashes", "many"])
def test_stored_metadata_can_be_shown_everywhere(report, staff_client, event, metadata):
    assert report(metadata).json()["recorded"] == 1
    event.refresh_from_db()
    assert event.metadata == metadata
    for url in (
        "/admin/usage/requests/",
        f"/admin/usage/requests/{event.pk}/",
        "/admin/usage/requests/?format=csv",
        f"/users/{event.user_id}/",
        f"/admin/apikeys/apikey/{event.api_key_id}/change/",
    ):
        response = staff_client.get(url)
        assert response.status_code == 200, url
        assert b"".join(response) if response.streaming else response.content


@pytest.mark.parametrize(
    "metadata", [*VALID, {}, None], ids=["deep", "numbers", "backslashes", "many", "empty", "none"]
)
def test_key_with_valid_metadata_can_be_shown(alice, staff_client, metadata):
    key = make_key(alice)
    key.metadata = metadata
    key.full_clean()
    key.save()
    assert staff_client.get(f"/admin/apikeys/apikey/{key.pk}/change/").status_code == 200


@pytest.mark.parametrize("metadata", [nested(MAX_DEPTH + 1), {"a": float("inf")}, {"a": "\0"}, {"a": {1, 2}}])
def test_invalid_key_metadata_is_rejected(alice, metadata):
    key = make_key(alice)
    key.metadata = metadata
    with pytest.raises(ValidationError, match="The metadata must"):
        key.full_clean()


def test_limit_is_on_nesting_not_on_size():
    assert json_problem([nested(MAX_DEPTH - 1)] * 100, 100_000) == ""
    assert json_problem([[nested(MAX_DEPTH - 1)]], 100_000) != ""
