"""A browser without a browser: pages of an embedded Cloud, asked for in this process, read with ``html.parser``."""

import asyncio
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urlencode, urlsplit

import attrs
from attrs import field
from demo_form import form_fields
from starlette.types import ASGIApp, Message, Scope

from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.http.app import make_app

_VOID: Final = {"meta", "link", "input", "br", "hr", "img", "rect", "path"}

_APART: Final = {"td", "th", "li", "p", "dt", "dd"}
"""Elements whose texts a person sees apart."""

Fields = Mapping[str, str] | Sequence[tuple[str, str]]


@attrs.define
class Element:
    """One element, with its text and that of what is inside."""

    tag: str
    attrs: dict[str, str]
    text: str = ""
    parents: tuple["Element", ...] = field(default=(), repr=False)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Element] = []
        self.open: list[Element] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        one = Element(tag, {name: value or "" for name, value in attrs}, parents=tuple(self.open))
        self.found.append(one)
        if tag not in _VOID:
            self.open.append(one)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(Element(tag, {name: value or "" for name, value in attrs}, parents=tuple(self.open)))

    def handle_endtag(self, tag: str) -> None:
        if tag in _APART:
            self.handle_data(" ")
        if tag in {one.tag for one in self.open}:
            while self.open.pop().tag != tag:
                pass

    def handle_data(self, data: str) -> None:
        for one in self.open:
            one.text += data


@attrs.frozen
class Shown:
    """One answer."""

    status: int
    headers: Mapping[str, str]
    body: str
    elements: tuple[Element, ...] = attrs.field(init=False, repr=False)

    @elements.default
    def _elements(self) -> tuple[Element, ...]:
        reader = _Reader()
        reader.feed(self.body)
        reader.close()
        return tuple(reader.found)

    def all(self, tag: str, **wanted: str) -> list[Element]:
        """Elements with these attributes; ``class_`` is one of its classes, ``inside`` an id around it."""
        return [one for one in self.elements if one.tag == tag and _fits(one, wanted)]

    def one(self, tag: str, **wanted: str) -> Element:
        """The only element like this."""
        found = self.all(tag, **wanted)
        assert len(found) == 1, (tag, wanted, len(found), self.status, self.body[:2000])
        return found[0]

    def texts(self, tag: str, **wanted: str) -> list[str]:
        """Their texts, with single spaces."""
        return [" ".join(one.text.split()) for one in self.all(tag, **wanted)]

    def links(self) -> list[str]:
        """Where all links of the page lead."""
        return [one.attrs["href"] for one in self.all("a")]

    @property
    def heading(self) -> str:
        """The page's first heading."""
        return self.texts("h1")[0]


def _fits(one: Element, wanted: Mapping[str, str]) -> bool:
    for name, value in wanted.items():
        if name == "class_":
            if value not in one.attrs.get("class", "").split():
                return False
        elif name == "inside":
            if all(parent.attrs.get("id") != value for parent in one.parents):
                return False
        elif one.attrs.get(name.replace("_", "-")) != value and one.attrs.get(name) != value:
            return False
    return True


@attrs.define
class Browser:
    """Asks one Cloud for pages, keeps cookies, fills in forms.

    Attributes:
        headers: Sent with every request.
    """

    execute: Executor
    headers: dict[str, str] = attrs.field(factory=dict)
    cookies: dict[str, str] = attrs.field(factory=dict)
    app: ASGIApp = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.app = make_app(self.execute)

    def get(self, path: str, **headers: str) -> Shown:
        """One answer; redirects are followed."""
        shown = self.ask("GET", path, headers=headers)
        return self.get(shown.headers["location"], **headers) if shown.status == 303 else shown

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Shown:
        """One answer, whatever it is."""
        return asyncio.run(self._ask(method, path, body, {**self.headers, **(headers or {})}))

    def post(self, path: str, fields: Fields, **headers: str) -> Shown:
        """Send a form as it is; redirects are not followed."""
        given = {"content-type": "application/x-www-form-urlencoded", "origin": "http://localhost:4200", **headers}
        return self.ask("POST", path, urlencode(fields).encode(), given)

    def submit(self, shown: Shown, action: str, fields: Fields = (), **replaced: str) -> Shown:
        """Fill in the form of a page that leads to *action* and send it; redirects are not followed."""
        filled = {**dict(form_values(shown, action)), **dict(fields), **replaced}
        return self.post(action, filled)

    async def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Shown:
        parts = urlsplit(path)
        given = {"host": "localhost:4200", "accept": "text/html", **headers}
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        scope: Scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": method, "scheme": "http", "path": parts.path, "raw_path": parts.path.encode(), "root_path": "",
            "query_string": parts.query.encode(), "client": ("127.0.0.1", 1), "server": ("localhost", 4200),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
        }  # fmt: skip
        sent: list[Message] = []
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Message:
            if waiting:
                return waiting.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        return self._shown(sent)

    def _shown(self, sent: list[Message]) -> Shown:
        pairs = [(name.decode().lower(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        for value in (value for name, value in pairs if name == "set-cookie"):
            name, _, content = value.partition(";")[0].partition("=")
            self.cookies = {**self.cookies, name: content}
            if "Max-Age=0" in value:
                del self.cookies[name]
        return Shown(sent[0]["status"], dict(pairs), b"".join(one.get("body", b"") for one in sent[1:]).decode())


def form_values(shown: Shown, action: str) -> list[tuple[str, str]]:
    """Names and values that a form of the page would send if nothing is filled in."""
    return form_fields(shown.body, action=action)
