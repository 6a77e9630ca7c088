"""Fills a form of a page, as a browser does it without JavaScript."""

from html.parser import HTMLParser

__all__ = ["filled_form"]


class _Form(HTMLParser):
    """Collects what a browser would send of the form with a certain id."""

    def __init__(self, form_id: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._form_id = form_id
        self._is_inside = False
        self._name = self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._is_inside = given.get("id") == self._form_id
        elif self._is_inside and tag == "input" and (given.get("type") != "radio" or "checked" in given):
            self.fields[given.get("name", "")] = given.get("value", "")
        elif self._is_inside and tag == "textarea":
            self._name = given.get("name", "")
            self.fields[self._name] = ""
        elif self._is_inside and tag == "select":
            self._select = given.get("name", "")
        elif self._is_inside and tag == "option" and (self._select not in self.fields or "selected" in given):
            self.fields[self._select] = ""
            self._name = self._select

    def handle_data(self, data: str) -> None:
        if self._name:
            self.fields[self._name] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in {"textarea", "option", "select"}:
            self._name = ""
        elif tag == "form":
            self._is_inside = False


def filled_form(page: str, form_id: str, **values: str) -> dict[str, str]:
    """Return the fields of a form as they are on the page, with *values* typed in.

    Args:
        page: HTML.
        form_id: The form's ``id``.
        values: By name of the field.
    """
    form = _Form(form_id)
    form.feed(page)
    return {**form.fields, **values}
