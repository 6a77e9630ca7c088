"""Reads and fills a form of a page, as a browser does it without JavaScript; the tests of the pages read forms so."""

from html.parser import HTMLParser

__all__ = ["filled_form", "form_fields"]


class _Form(HTMLParser):
    """Collects what a browser would send of the first form with certain attributes."""

    def __init__(self, wanted: dict[str, str]) -> None:
        super().__init__()
        self.fields: list[list[str]] = []
        self.is_found = False
        self._wanted = wanted
        self._is_inside = self._is_text = self._is_chosen = self._has_value = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._is_inside = not self.is_found and self._wanted.items() <= given.items()
            self.is_found |= self._is_inside
        elif not self._is_inside:
            return
        elif tag == "option":
            self._begin_option(given)
        elif "name" in given and tag in {"input", "textarea", "select"}:
            self._begin_field(tag, given)

    def _begin_field(self, tag: str, given: dict[str, str]) -> None:
        if tag == "input" and given.get("type") in {"radio", "checkbox"} and "checked" not in given:
            return
        self.fields.append([given["name"], given.get("value", "") if tag == "input" else ""])
        self._is_text, self._is_chosen, self._has_value = tag == "textarea", False, False

    def _begin_option(self, given: dict[str, str]) -> None:
        """The first option counts until one comes that is selected."""
        if self._is_chosen or (self._has_value and "selected" not in given):
            return
        self._is_chosen, self._has_value = "selected" in given, True
        self._is_text = "value" not in given
        self.fields[-1][1] = given.get("value", "")

    def handle_data(self, data: str) -> None:
        if self._is_text:
            self.fields[-1][1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag in {"textarea", "option", "select"}:
            self._is_text = False
        elif tag == "form":
            self._is_inside = False


def form_fields(page: str, **wanted: str) -> list[tuple[str, str]]:
    """Return names and values that a form of a page would send if nothing is filled in.

    Args:
        page: HTML.
        wanted: Attributes of the form.

    Raises:
        LookupError: The page has no such form.
    """
    form = _Form(wanted)
    form.feed(page)
    if not form.is_found:
        raise LookupError(f"There is no form {wanted}")
    return [(name, value) for name, value in form.fields]


def filled_form(page: str, form_id: str, **values: str) -> dict[str, str]:
    """Return the fields of a form as they are on the page, with *values* typed in.

    Args:
        page: HTML.
        form_id: The form's ``id``.
        values: By name of the field.
    """
    return {**dict(form_fields(page, id=form_id)), **values}
