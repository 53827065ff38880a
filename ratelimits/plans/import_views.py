"""/admin/ratelimits/import/"""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.decorators import method_decorator

from config.base.history import Author
from config.base.import_forms import ImportColumnsForm
from config.base.import_views import ImportView, Preview
from config.base.importable import InvalidRows, digest_of
from config.base.text import counted
from config.base.views import staff_required
from ratelimits.plans.files import Problems
from ratelimits.plans.services import apply_entries
from ratelimits.plans.tables import PLANS, problems_of, read_table_of_plans

RIGHTS = ("tiers.add_tier", "tiers.change_tier", "ratelimits.add_ratelimit", "ratelimits.change_ratelimit")


@method_decorator(staff_required(*RIGHTS), name="dispatch")
class PlanImportView(ImportView):
    template_name = "ratelimits/plans/import.html"
    title = "Import tiers"
    list_title = "Tiers"
    list_url = "admin:tiers_tier_changelist"
    importable = PLANS

    def make_preview(self, form: ImportColumnsForm) -> Preview:
        try:
            changes = apply_entries(read_table_of_plans(form.table, form.columns), None, dry_run=True).differences
        except Problems as error:
            return Preview(problems=problems_of(error))
        return Preview(
            changes, digest=digest_of(changes), button=f"Import {counted(len(changes), 'change')}" if changes else ""
        )

    def import_table(self, form: ImportColumnsForm) -> str:
        def accept(changes: Sequence[str]) -> None:
            self.refuse_changed(digest_of(changes))

        author = Author(self.request.user, self.request, via="import")
        try:
            changes = apply_entries(read_table_of_plans(form.table, form.columns), author, accept=accept).differences
        except Problems:
            raise InvalidRows from None
        return f"{counted(len(changes), 'change')} imported."
