"""Import a table: choose a file, see what it would create and change, and confirm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.decorators import method_decorator
from django.views import View

from config.base.import_forms import ImportColumnsForm, UploadForm, unsealed
from config.base.importable import Importable, NotImported, RowProblem
from config.base.views import retry_on_conflict, staff_render

MAX_LISTED = 100


class Preview(NamedTuple):
    """What an import would do. button: empty if there is nothing to import. plan: for the template."""

    changes: Sequence[Any] = ()
    problems: Sequence[RowProblem] = ()
    digest: str = ""
    button: str = ""
    plan: Any = None


@method_decorator(retry_on_conflict, name="dispatch")
class ImportView(View):
    """A subclass says what is imported; its template extends base/import.html."""

    http_method_names = ["get", "head", "post"]
    template_name: str
    title: str
    list_title: str
    list_url: str
    importable: Importable
    form_class: type[ImportColumnsForm] = ImportColumnsForm

    make_preview: Callable[[ImportColumnsForm], Preview]
    # Returns the message for success. Raises NotImported.
    import_table: Callable[[ImportColumnsForm], str]

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.render(UploadForm(importable=self.importable))

    def post(self, request: HttpRequest) -> HttpResponse:
        if "sealed" in request.POST:
            return self.columns_step(request.POST["sealed"])
        form = UploadForm(request.POST, request.FILES, importable=self.importable)
        if not form.is_valid():
            return self.render(form)
        return self.show_preview(self.form_class(form.first_values(), form.cleaned_data["table"], self.importable))

    def columns_step(self, sealed: str) -> HttpResponse:
        table = unsealed(sealed)
        if table is None:
            messages.error(self.request, "This preview has expired. Choose the file again.")
            return redirect(self.request.path)
        form = self.form_class(self.request.POST, table, self.importable)
        if "import" in self.request.POST and form.is_valid():
            try:
                messages.success(self.request, self.import_table(form))
                return redirect(self.list_url)
            except NotImported as error:
                form.add_error(error.field, str(error))
        return self.show_preview(form)

    def refuse_changed(self, digest: str) -> None:
        """digest: of what the import would do now."""
        if digest != self.request.POST.get("digest"):
            raise NotImported("Something has changed since this preview. Check it again.")

    def show_preview(self, form: ImportColumnsForm) -> HttpResponse:
        if not form.is_valid() and self.importable.required.keys() - form.columns.keys():
            return self.render(form, is_preview=True)
        preview = self.make_preview(form)
        return self.render(
            form,
            is_preview=True,
            preview=preview,
            plan=preview.plan,
            ignored=form.ignored,
            changes=preview.changes[:MAX_LISTED],
            more_changes=max(0, len(preview.changes) - MAX_LISTED),
            problems=preview.problems[:MAX_LISTED],
            more_problems=max(0, len(preview.problems) - MAX_LISTED),
        )

    def render(self, form: UploadForm | ImportColumnsForm, **context: Any) -> HttpResponse:
        return staff_render(
            self.request, self.template_name, {"title": self.title, "view": self, "form": form, **context}
        )
