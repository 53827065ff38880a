"""Read the forms and the text of a page, and submit its forms."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple

NOT_SENT = {"submit", "button", "reset", "file", "image"}


class Form(NamedTuple):
    """A form with all its fields and the values that a browser would send: none for an unchecked box."""

    address: str
    method: str
    fields: dict[str, list[str]]

    @property
    def sent(self):
        return {name: values for name, values in self.fields.items() if values}


class FormReader(HTMLParser):
    """Reads the forms of a page at an address."""

    def __init__(self, address=""):
        super().__init__()
        self.address, self.forms = address, []
        self.form, self.select, self.area = None, None, None

    def handle_starttag(self, tag, attributes):
        found = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.form = Form(found.get("action") or self.address, found.get("method", "get").lower(), {})
            self.forms.append(self.form)
        elif self.form is not None:
            self.handle_field(tag, found)

    def handle_field(self, tag, found):
        if tag == "input":
            self.handle_input(found)
        elif tag == "select":
            self.select, self.options = found, []
            self.field(found["name"])
        elif tag == "option" and self.select:
            self.options.append(found.get("value", ""))
            if "selected" in found:
                self.field(self.select["name"]).append(found.get("value", ""))
        elif tag == "textarea":
            self.area = (found["name"], [])

    def handle_input(self, found):
        if not found.get("name") or found.get("type") in NOT_SENT or "disabled" in found:
            return
        values = self.field(found["name"])
        if found.get("type") not in {"checkbox", "radio"}:
            values.append(found.get("value", ""))
        elif "checked" in found:
            values.append(found.get("value", "on"))

    def handle_data(self, data):
        if self.area:
            self.area[1].append(data)

    def handle_endtag(self, tag):
        if tag == "form":
            self.form = None
        elif tag == "textarea" and self.area:
            self.field(self.area[0]).append("".join(self.area[1]).removeprefix("\n").replace("\n", "\r\n"))
            self.area = None
        elif tag == "select" and self.select:
            values = self.field(self.select["name"])
            if not values and "multiple" not in self.select:
                values.extend(self.options[:1])
            self.select = None

    def field(self, name):
        return self.form.fields.setdefault(name, [])


def forms_in(html, address=""):
    reader = FormReader(address)
    reader.feed(html)
    return reader.forms


def fields_of(html, name):
    """The data that a browser would send for the form with this field, if submitted unchanged."""
    return next(form.sent for form in forms_in(html) if name in form.sent)


def press_undo(client, response):
    """Submit the undo button of the message on the page, and follow the redirect."""
    form = next(form for form in forms_in(response.content.decode()) if "token" in form.fields)
    return client.post(form.address, form.sent, follow=True)


def opened(client, url, name="name"):
    response = client.get(url)
    assert response.status_code == 200, response
    return fields_of(response.content.decode(), name)


def text_of(response):
    """The page's HTML, with whitespace collapsed."""
    return " ".join(response.content.decode().split())
