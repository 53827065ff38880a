"""The OpenAPI document of the JSON endpoints, at /authz/openapi.json, built from the limits that the code enforces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse, JsonResponse

from apikeys.decision.decide import STATUSES
from apikeys.gateway.usage_report import MAX_BATCH, MAX_BIGINT, MAX_INT
from apikeys.gateway.verify import MAX_COST
from ratelimits.matching import METHOD
from ratelimits.models import RateLimit

Schema = dict[str, Any]


def document(environ: Mapping[str, Any]) -> HttpResponse:
    return JsonResponse(description())


def description() -> Schema:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Gatehouse",
            "version": "1",
            "description": "Check whether an API key may make a request, and report usage. For trusted gateways and services only.",
        },
        "security": [{}, {"gatewaySecret": []}],
        "paths": {
            "/authz/verify": {"post": operation("verify", "Verify an API key", QUESTION, ANSWER)},
            "/authz/usage": {"post": operation("reportUsage", "Report usage", REPORTS, RECEIPT)},
        },
        "components": {
            "securitySchemes": {"gatewaySecret": {"type": "apiKey", "in": "header", "name": "X-Gateway-Secret"}},
            "schemas": {"Problem": PROBLEM},
        },
    }


def operation(name: str, summary: str, body: Schema, answer: Schema) -> Schema:
    errors = {
        400: "The body is invalid. `detail` says why.",
        403: "The caller isn't trusted: see GATEWAY_TRUSTED and GATEWAY_SECRET.",
        405: "The method isn't POST.",
        413: "The body is too large.",
        415: "The content type isn't application/json.",
        503: "Gatehouse can't answer now. Its log has more under `id`.",
    }
    answers = {"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}}
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": answers | {str(status): problem_response(text) for status, text in errors.items()},
    }


def problem_response(text: str) -> Schema:
    reference = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {"application/problem+json": {"schema": reference}}}


def nullable(kind: str, **members: Any) -> Schema:
    return {"type": [kind, "null"], **members}


def closed(properties: Schema, **members: Any) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False, **members}


def complete(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


PROBLEM: Schema = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "id": {"type": "string"},
    },
    "required": ["type", "title", "status"],
}
QUESTION = closed(
    {
        "key": nullable(
            "string", maxLength=16384, description="The secret. You can also send it in a header, as a client does."
        ),
        "method": nullable("string", pattern=f"^{METHOD}$", description="Case-sensitive."),
        "path": nullable(
            "string", maxLength=16384, description="The original path with its query string, not decoded."
        ),
        "resource": nullable(
            "string",
            pattern="^[^\\u0000-\\u001f\\u007f]{1,255}$",
            description="A name such as orders, or a path. The key needs permission for it instead of for `path`.",
        ),
        "action": {"enum": ["read", "create", "update", "delete", None]},
        "host": nullable(
            "string",
            description="The host that the client asked, as in its Host header. Without it, only rules for any host match.",
        ),
        "ip": nullable("string", description="The client's IPv4 or IPv6 address."),
        "cost": nullable("integer", minimum=0, maximum=MAX_COST, default=1),
        "user_agent": nullable("string", maxLength=4096),
    },
    allOf=[
        {"anyOf": [{"required": ["path"]}, {"required": ["resource"]}]},
        {"anyOf": [{"required": ["method"]}, {"required": ["action"]}]},
    ],
)
LIMIT = complete(
    {
        "name": {"type": "string"},
        "limit": {"type": "integer"},
        "period": {"type": "integer"},
        "window": {"enum": RateLimit.Window.values},
        "unit": {"enum": RateLimit.Unit.values},
        "mode": {"enum": ["enforce", "observe"]},
        "remaining": {"type": "integer"},
        "reset_after": {"type": "integer"},
        "retry_after": {"type": "integer"},
        "exceeded": {"type": "boolean"},
    }
)
ANSWER = complete(
    {
        "allowed": {"type": "boolean"},
        "status": {"type": "integer", "enum": [200, 401, 403, 429]},
        "reason": {"enum": ["", *STATUSES]},
        "key": nullable("object"),
        "user": nullable("object"),
        "tier": nullable("object"),
        "limits": {"type": "array", "items": LIMIT},
        "retry_after": nullable("integer"),
        "event_id": nullable("string", format="uuid"),
    }
)
REPORT = closed(
    {
        "event_id": {"type": "string", "format": "uuid"},
        "status_code": nullable("integer", minimum=100, maximum=599),
        "response_time_ms": nullable("integer", minimum=0, maximum=MAX_INT),
        "tokens_used": nullable("integer", minimum=0, maximum=MAX_BIGINT),
        "cost_microcents": nullable("integer", minimum=0, maximum=MAX_BIGINT),
        "error_message": nullable("string", maxLength=2000),
        "metadata": nullable("object"),
    },
    required=["event_id"],
)
BATCH = {"type": "array", "items": REPORT, "maxItems": MAX_BATCH}
REPORTS: Schema = {"anyOf": [closed({"events": BATCH}, required=["events"]), BATCH]}
RECEIPT = complete(
    {
        "recorded": {"type": "integer"},
        "unchanged": {"type": "integer"},
        "unknown": {"type": "array", "items": {"type": "string", "format": "uuid"}},
    }
)
