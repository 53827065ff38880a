"""Hints for browsers and phones about every field, in our forms, the admin's and allauth's."""

from __future__ import annotations

from typing import Any

from django import forms
from django.forms.boundfield import BoundField
from django.forms.renderers import TemplatesSetting

# Fields with words: phones may capitalize them, and browsers check their spelling. All other text is for machines, such as
# paths, hosts and usernames.
PROSE = frozenset({"name", "description", "reason"})
TYPED = (forms.TextInput, forms.Textarea, forms.NumberInput, forms.EmailInput, forms.URLInput, forms.PasswordInput)
# Entered with the browser's picker.
PICKED = (forms.DateInput, forms.DateTimeInput)


class HintedField(BoundField):
    """Adds hints for the keyboard and for autofill, unless the widget has its own."""

    def build_widget_attrs(self, attrs: dict[str, Any], widget: Any = None) -> dict[str, Any]:
        widget = widget or self.field.widget
        hints = {name: value for name, value in self.hints(widget).items() if name not in widget.attrs}
        return hints | super().build_widget_attrs(attrs, widget)

    def hints(self, widget: forms.Widget) -> dict[str, str]:
        if not isinstance(widget, TYPED):
            return {}
        # Browsers would offer the visitor's own name and address in forms about other people.
        hints = {"autocomplete": "off"}
        if isinstance(self.field, forms.IntegerField):
            return hints | {"inputmode": "numeric"}
        if isinstance(widget, PICKED) or self.name in PROSE:
            return hints
        return hints | {"autocapitalize": "none", "spellcheck": "false"}


class Renderer(TemplatesSetting):
    bound_field_class = HintedField
