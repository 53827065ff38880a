"""Staff pages about keys that are no part of the admin's own lists: hygiene."""

from __future__ import annotations

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from apikeys.pages import hygiene
from apikeys.pages.bulk import VERBS
from apikeys.pages.desks import StaffDesk, may_take
from apikeys.pages.rows import key_rows
from config.base.views import staff_required

PAGE_SIZE = 50


@require_safe
@staff_required("apikeys.view_apikey")
def hygiene_page(request: HttpRequest) -> HttpResponse:
    chosen = hygiene.problem(request.GET.get("show", "")) or hygiene.PROBLEMS[0]
    lists = {problem.slug: problem.keys() for problem in hygiene.PROBLEMS}
    counts = {slug: keys.count() for slug, keys in lists.items()}
    keys = lists[chosen.slug].select_related("user").prefetch_related("permissions").order_by("last_used_at", "pk")
    page = Paginator(keys, PAGE_SIZE).get_page(request.GET.get("page"))
    verbs = [verb for verb in VERBS if may_take(request.user, verb[0])]
    verbs = [verb for verb in verbs if verb[0] != "trim" or chosen.slug == "unexercised"]
    idle = hygiene.unexercised_permissions([key.pk for key in page]) if chosen.slug == "unexercised" else {}
    return StaffDesk(request).page(
        "apikeys/pages/hygiene.html",
        problems=[(problem, counts[problem.slug]) for problem in hygiene.PROBLEMS],
        chosen=chosen,
        page=page,
        rows=[(row, idle.get(row.key.pk, [])) for row in key_rows(page)],
        verbs=verbs,
        may_change=bool(verbs),
        title="Key hygiene",
    )
