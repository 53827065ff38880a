"""GET /api/v1/whoami: what a key holder's key says about him. Also the sample of a view protected in this process."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from apikeys.gateway.decorators import require_key
from apikeys.gateway.verify import as_json


@require_key()
@require_safe
def whoami(request: HttpRequest) -> HttpResponse:
    facts = as_json(request.verdict)  # type: ignore[attr-defined]
    told = {name: facts[name] for name in ("user", "tier", "key", "limits", "event_id")}
    return JsonResponse(told, headers={"Cache-Control": "no-store"})
