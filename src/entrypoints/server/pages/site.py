"""The pages as a web application: who may look, what went wrong, and everything between an address and its function.

What there is, is listed in ``routes.py``; what a page, a change and a stream are, in ``kinds.py``.
"""

import logging
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from http import HTTPStatus
from typing import Any, Final

import attrs
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route, compile_path
from starlette.types import ExceptionHandler

from prefect.agent.domain.cloud.errors import CloudRefusal
from prefect.agent.entrypoints.server.graphql.execution import Executor
from prefect.agent.entrypoints.server.pages.asked import local, query_of, without_slash
from prefect.agent.entrypoints.server.pages.assets import serve_asset
from prefect.agent.entrypoints.server.pages.changes import ChangeBell, Watch, fingerprint
from prefect.agent.entrypoints.server.pages.forms import (
    TOKEN_FIELD,
    TokenRefused,
    Unsent,
    read_form,
    read_unsent,
    unsent,
)
from prefect.agent.entrypoints.server.pages.kinds import Action, Again, Page, Section, Stream
from prefect.agent.entrypoints.server.pages.rendering import render
from prefect.agent.entrypoints.server.pages.sessions import Sessions, cookie_of, drop_cookie, set_cookie
from prefect.agent.entrypoints.server.pages.view import Form, FormRefused, KeyNeeded, NotThere, View, canonical
from prefect.agent.entrypoints.server.pages.zones import zone_of
from prefect.agent.entrypoints.server.storage.database import code_of_mistake, explain
from prefect.agent.entrypoints.server.storage.row_trees import Row
from prefect.agent.entrypoints.server.storage.scopes import ANYONE, Caller

_FAILED: Final = "This failed within the Cloud; its log says why."

_log: Final = logging.getLogger(__name__)

SIGN_IN: Final = "/-/sign-in"
SIGN_OUT: Final = "/-/sign-out"


@attrs.frozen
class _Visitor:
    """Who asks.

    Attributes:
        token: Of the session; empty if there is none.
        headers: As GraphQL is asked with.
    """

    caller: Caller
    token: str
    headers: Mapping[str, str]


@attrs.frozen
class PageSite:
    """All pages of one server.

    Attributes:
        execute: Answers GraphQL: every change goes through it.
        on_change: Called after each change by a form.
        tabs: Entries of the navigation: name and path below the slug.
    """

    execute: Executor
    changes: ChangeBell
    on_change: Callable[[], None]
    tabs: Mapping[str, str]
    sections: Sequence[Section]
    sessions: Sessions = attrs.field(factory=Sessions)

    def routes(self) -> list[BaseRoute]:
        """Everything that is served; the first page is shown at the front, too."""
        pages = [page for section in self.sections for page in section.pages]
        streams = [stream for section in self.sections for stream in section.streams]
        return [
            Route("/", self._front(pages[0]), methods=["GET"]),
            Route("/-/static/{edition}/{name}", serve_asset, methods=["GET"]),
            Route(SIGN_IN, self._answering(self._sign_in_page), methods=["GET"]),
            Route(SIGN_IN, self._answering(self._sign_in), methods=["POST"]),
            Route(SIGN_OUT, self._answering(self._sign_out), methods=["POST"]),
            *(Route(f"/{{tenant}}{one.path}", self._page(one), methods=["GET"]) for one in pages),
            *(Route(f"/{{tenant}}{one.path}", self._action(one), methods=["POST"]) for one in self._actions),
            *(Route(f"/{{tenant}}{one.path}", self._stream(one), methods=["GET"]) for one in streams),
        ]

    @property
    def _actions(self) -> list[Action]:
        return [action for section in self.sections for action in section.actions]

    def _may(self, caller: Caller, address: str) -> bool:
        """Whether the form that leads to *address* can work for *caller*: else no page shows it."""
        if caller == ANYONE:
            return True
        needs = (one.needs for one in self._actions if _leads_to(one.path).match(address))
        return all(map(caller.may, needs))

    @property
    def handlers(self) -> dict[Any, ExceptionHandler]:
        """How what went wrong is shown."""
        pages = self.routes()

        async def refused(request: Request, problem: Exception) -> Response:
            assert isinstance(problem, HTTPException)
            is_gone = problem.status_code == HTTPStatus.NOT_FOUND
            address = without_slash(request, pages) if is_gone else None
            if address:
                return RedirectResponse(address, 308)
            text = str(problem.detail)
            said = (
                _UNEXPLAINED.get(problem.status_code, text) if text == HTTPStatus(problem.status_code).phrase else text
            )
            return _wrong(problem.status_code, said, problem.headers)

        async def failed(_request: Request, _problem: Exception) -> Response:
            return _wrong(500, _FAILED)

        return {HTTPException: refused, Exception: failed}

    # --- who asks ---

    def _visitor(self, request: Request) -> _Visitor:
        """Who asks, by key or by session.

        Raises:
            KeyNeeded: A key is needed, and there is none that is accepted.
        """
        token = _new_token(request) or cookie_of(request)
        given = request.headers.get("authorization")
        key = self.sessions.key(token) if token else None
        headers = {"authorization": given if given is not None else f"Bearer {key}" if key else ""}
        caller = self.execute.caller(headers)
        if caller is None:
            raise KeyNeeded
        return _Visitor(caller, token if key else "", headers)

    @contextmanager
    def _look(self, request: Request) -> Generator[View]:
        visitor = self._visitor(request)
        with self.execute.database.read() as tx:
            slug = request.path_params["tenant"]
            tenant = tx.row("tenant", "slug = ?", [slug])
            if tenant is None:
                raise NotThere(f"There is no tenant {slug:.80}.")
            path = {name: value for name, value in _names(request).items() if name != "tenant"}
            yield View(
                tx=tx,
                caller=visitor.caller,
                tenant=tenant,
                now=self.execute.now(),
                path=path,
                query=request.query_params,
                zone=zone_of(request),
            )

    # --- answers ---

    def _page(self, page: Page) -> Callable[[Request], Any]:
        async def show(request: Request) -> Response:
            return self._show(request, page)

        return self._answering(show)

    def _show(self, request: Request, page: Page, status: int = 200, **replaced: Any) -> Response:
        with self._look(request) as view:
            context = {**self._frame(request, view, page.tab), **page.data(view), **replaced}
            return HTMLResponse(render(page.template, context), status)

    def _frame(self, request: Request, view: View, tab: str) -> Row:
        """What every template may use."""
        visitor = self._visitor(request)
        return {
            "view": view,
            "now": view.now,
            "tab": tab,
            "tabs": [(name, view.link(path).rstrip("/")) for name, path in self.tabs.items()],
            "tenants": view.tx.all("SELECT name, slug FROM tenant ORDER BY created LIMIT 100"),
            "form_token": self.sessions.form_token(visitor.token),
            "is_signed_in": bool(visitor.token),
            "origin": f"{request.url.scheme}://{request.url.netloc}",
            "address": "",
            "typed": {},
            "fingerprint": partial(fingerprint, view),
            "may": partial(self._may, visitor.caller),
        }

    def _action(self, action: Action) -> Callable[[Request], Any]:
        async def run(request: Request) -> Response:
            visitor, values = await self._sent(request)
            form = Form(
                look=lambda: self._look(request),
                values=values,
                path=_names(request),
                slug=request.path_params["tenant"],
                came_from=_back(request),
                sign_in=partial(self._begin, request),
                execute=self.execute,
                headers=visitor.headers,
                on_change=self._changed,
            )
            answer = self._done(request, action, form)
            if token := _new_token(request):
                set_cookie(request, answer, token)
            return answer

        return self._answering(run)

    def _done(self, request: Request, action: Action, form: Form) -> Response:
        try:
            done = action.run(form)
        except Again as again:
            return self._answered(request, again.page, 422, again.values)
        except FormRefused as problem:
            if action.page is None:
                raise
            return self._answered(request, action.page, 422, {"problem": str(problem), "typed": dict(form.values)})
        if isinstance(done, str):
            return RedirectResponse(done, 303)
        return self._answered(request, done.page, 200, done.values)

    def _answered(self, request: Request, page: Page, status: int, values: Mapping[str, Any]) -> Response:
        """A page in answer to a form. It says its own address, at which it follows changes and can be reloaded."""
        address = f"/{{tenant}}{page.path}"
        for name, value in request.path_params.items():
            address = address.replace(f"{{{name}}}", value)
        return self._show(request, page, status, address=address + query_of(request), **values)

    def _begin(self, request: Request, key: str) -> None:
        """Begin a session that holds for this request already: its answer may need the key."""
        request.state.session = self.sessions.begin(key)

    def _stream(self, stream: Stream) -> Callable[[Request], Any]:
        async def open_stream(request: Request) -> Response:
            with self._look(request) as view:  # what is not there, or not allowed, is refused before the stream begins
                owner = view.caller.key_id
            answer = stream.open(Watch(look=lambda: self._look(request), changes=self.changes, owner=owner))
            return answer if request.method == "GET" else Response(headers=answer.headers)

        return self._answering(open_stream)

    def _changed(self) -> None:
        self.changes.ring()
        self.on_change()

    def _front(self, page: Page) -> Callable[[Request], Any]:
        """The address without a tenant shows *page* of the first one, which clients take for the default one."""

        async def show(request: Request) -> Response:
            self._visitor(request)
            with self.execute.database.read() as tx:
                first = tx.row("tenant", "1 ORDER BY created")
            if first is None:
                raise NotThere("There is no tenant: the mutation create_tenant makes one.")
            request.scope["path_params"] = {"tenant": first["slug"]}
            return self._show(request, page)

        return self._answering(show)

    # --- signing in and out ---

    async def _sign_in_page(self, request: Request) -> Response:
        return self._ask_for_key(request.query_params.get("next", "/"), 200)

    async def _sign_in(self, request: Request) -> Response:
        form = dict(await read_form(request, carries_another=True))
        key, target, kept = form.get("key", "").strip(), local(form.get("next", "/")), read_unsent(form.get("kept", ""))
        if not self.sessions.is_form_token("", form.get(TOKEN_FIELD, "")):
            problem = "The Cloud was restarted since this page was opened. Give the key once more."
            return self._ask_for_key(target, 403, problem, kept)
        if self.execute.caller({"authorization": f"Bearer {key}"}) is None:
            return self._ask_for_key(target, 401, "This key is not accepted: it is unknown, revoked or expired.", kept)
        token = self.sessions.begin(key)
        answer = self._hand_back(kept, token, 200) if kept else RedirectResponse(target, 303)
        set_cookie(request, answer, token)
        return answer

    async def _sign_out(self, request: Request) -> Response:
        await self._sent(request)
        self.sessions.end(cookie_of(request))
        answer = RedirectResponse(SIGN_IN, 303)
        drop_cookie(request, answer)
        return answer

    def _ask_for_key(self, target: str, status: int, problem: str = "", kept: Unsent | None = None) -> Response:
        context = {
            "next": local(target),
            "problem": problem,
            "kept": kept.text if kept else "",
            "form_token": self.sessions.form_token(""),
        }
        return HTMLResponse(render("sign_in.html", context), status)

    # --- forms, and what went wrong ---

    async def _sent(self, request: Request) -> tuple[_Visitor, list[tuple[str, str]]]:
        """Who sent a form that is one of ours, and its fields.

        Raises:
            KeyNeeded: Nobody who may.
            TokenRefused: It is none of this session.
            HTTPException: It is no form, or it is too large.
        """
        request.state.fields = fields = await read_form(request)
        visitor = self._visitor(request)
        if not self.sessions.is_form_token(visitor.token, dict(fields).get(TOKEN_FIELD, "")):
            raise TokenRefused
        return visitor, fields

    def _hand_back(self, kept: Unsent, token: str, status: int) -> Response:
        """A form that was not taken, to be sent again in the session of *token*."""
        context = {"unsent": kept, "form_token": self.sessions.form_token(token)}
        return HTMLResponse(render("unsent.html", context), status)

    def _without_key(self, request: Request) -> Response:
        """Ask for a key; the page that was asked for, or the form that was sent, is kept."""
        if request.method == "POST":
            kept = unsent(request, getattr(request.state, "fields", ()))
            is_worth_it = request.url.path != SIGN_OUT  # which is what happened
            return self._ask_for_key(kept.back, 401, kept=kept if is_worth_it else None)
        return self._ask_for_key(request.url.path + query_of(request), 401)

    def _answering(self, run: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """Show what a person can understand of an error."""

        async def answer(request: Request) -> Response:
            try:
                found: Response = await run(request)
            except KeyNeeded:
                return self._without_key(request)
            except TokenRefused:
                return self._hand_back(unsent(request, request.state.fields), self._visitor(request).token, 403)
            except NotThere as problem:
                return _wrong(404, str(problem), back=_back(request))
            except FormRefused as problem:
                return _wrong(400, str(problem), back=_back(request))
            except CloudRefusal as problem:
                return _wrong(403 if problem.code == "FORBIDDEN" else 400, problem.message, back=_back(request))
            except HTTPException:
                raise
            except Exception as problem:  # noqa: BLE001 - logged; the next page must find a server that works
                explained = explain(problem)
                if explained is None:
                    _log.exception("A page failed")
                    return _wrong(500, _FAILED)
                return _wrong(503 if code_of_mistake(problem) is None else 400, explained)
            return found

        return answer


def application(site: PageSite, routes: list[BaseRoute]) -> Starlette:
    """An application that shows errors as *site* does."""
    made = Starlette(routes=routes, exception_handlers=site.handlers)
    made.router.redirect_slashes = False  # it would repeat the Host that the client names; see without_slash
    return made


_UNEXPLAINED: Final = {
    404: "There is no page at this address.",
    405: "This address only takes a form that a page sends to it.",
}


def _names(request: Request) -> dict[str, str]:
    """What the address has in the place of names, ids as they are stored."""
    return {name: canonical(str(value)) for name, value in request.path_params.items()}


@cache
def _leads_to(path: str) -> re.Pattern[str]:
    """What addresses of an action look like, with its tenant."""
    return compile_path(f"/{{tenant}}{path}")[0]


def _new_token(request: Request) -> str:
    """The token of the session that began in this request; empty if none did."""
    return str(getattr(request.state, "session", ""))


def _back(request: Request) -> str:
    """The page that a form was on; empty if none was sent."""
    return unsent(request, ()).back if request.method == "POST" else ""


def _wrong(status: int, message: str, headers: Mapping[str, str] | None = None, back: str = "") -> Response:
    context = {"status": status, "phrase": HTTPStatus(status).phrase, "message": message, "back": back}
    return HTMLResponse(render("wrong.html", context), status, headers)
