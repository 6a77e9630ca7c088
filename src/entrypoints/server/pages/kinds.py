"""What pages are made of: pages, changes by forms, streams; and sections, one for each subject."""

from collections.abc import Callable, Mapping
from typing import Any

import attrs
from starlette.responses import Response

from prefect.agent.entrypoints.server.pages.changes import Watch
from prefect.agent.entrypoints.server.pages.view import Form, View


@attrs.frozen
class Page:
    """A page of a tenant.

    Attributes:
        path: Below the tenant's slug, with names in braces.
        data: Reads what the template shows.
        tab: Which entry of the navigation it belongs to.
    """

    path: str
    template: str
    data: Callable[[View], Mapping[str, Any]]
    tab: str = ""


@attrs.frozen
class Once:
    """A page that answers a form by itself, with *values* in the place of its data: they are shown this once."""

    page: Page
    values: Mapping[str, Any]


@attrs.frozen
class Action:
    """A change by a form. Its function returns the address to go to next, or what is shown once.

    Attributes:
        needs: A mutation that it makes: its form is not shown to those whose key may not.
        page: Shown again, with ``problem``, if the Cloud refuses the change; without one a page of its own says so.
    """

    path: str
    run: Callable[[Form], str | Once]
    needs: str
    page: Page | None = None


@attrs.frozen
class Stream:
    """An answer that goes on: server-sent events, a download."""

    path: str
    open: Callable[[Watch], Response]


class Again(Exception):
    """A form was not right: show its page once more, with what was filled in and why it was refused."""

    def __init__(self, page: Page, **values: Any) -> None:
        """*values* take the place of those of the page's data."""
        super().__init__()
        self.page, self.values = page, values


@attrs.frozen(kw_only=True)
class Section:
    """Everything with an address that is about one subject; each module of a subject has one."""

    pages: tuple[Page, ...] = ()
    actions: tuple[Action, ...] = ()
    streams: tuple[Stream, ...] = ()
