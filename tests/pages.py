"""The fields of a page's form, to submit them unchanged or changed."""

from __future__ import annotations

from html.parser import HTMLParser

NOT_SENT = {"submit", "button", "reset", "file", "image"}


class FormReader(HTMLParser):
    """Collects what a browser would send for each POST form."""

    def __init__(self):
        super().__init__()
        self.forms, self.select, self.area = [], None, None

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "form":
            self.forms.append({})
        if not self.forms:
            return
        name = found.get("name")
        if tag == "input" and name and found.get("type") not in NOT_SENT and "disabled" not in found:
            if found.get("type") not in {"checkbox", "radio"}:
                self.add(name, found.get("value", ""))
            elif "checked" in found:
                self.add(name, found.get("value", "on"))
        elif tag == "select":
            self.select = name
        elif tag == "option" and self.select and "selected" in found:
            self.add(self.select, found.get("value", ""))
        elif tag == "textarea":
            self.area = (name, [])

    def handle_data(self, data):
        if self.area:
            self.area[1].append(data)

    def handle_endtag(self, tag):
        if tag == "textarea" and self.area:
            self.add(self.area[0], "".join(self.area[1]).removeprefix("\n").replace("\n", "\r\n"))
            self.area = None
        elif tag == "select":
            self.select = None

    def add(self, name, value):
        self.forms[-1].setdefault(name, []).append(value)


def fields_of(html, name):
    """What a browser would send, unchanged, for the form that has this field."""
    reader = FormReader()
    reader.feed(html)
    return next(form for form in reader.forms if name in form)


def opened(client, url, name="name"):
    response = client.get(url)
    assert response.status_code == 200, response
    return fields_of(response.content.decode(), name)
