"""GET /api/v1/whoami: tells the owner of a key about it. Also an example of `require_key`."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe

from apikeys.gateway.decorators import require_key
from apikeys.gateway.verify import as_json


@require_key()
@require_safe
def whoami(request: HttpRequest) -> HttpResponse:
    verdict = as_json(request.verdict)  # type: ignore[attr-defined]
    shown = {name: verdict[name] for name in ("user", "tier", "key", "limits", "event_id")}
    return JsonResponse(shown, headers={"Cache-Control": "no-store"})
