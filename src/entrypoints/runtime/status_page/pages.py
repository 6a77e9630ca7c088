"""The paths of the status page, and what they answer."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

from prefect.agent.entrypoints.runtime.site import Page, Reply
from prefect.agent.entrypoints.runtime.status_page.summary import summary

FOLDER: Final = Path(__file__).parent / "static"

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""By ending: the content type of a static file."""

PLACE: Final = "<!-- summary -->"
"""Where the shell has the summary."""


def page_routes(facts: Callable[[], dict[str, Any]]) -> Mapping[str, Page]:
    """``/``, and the files that the page loads below ``/page/``."""

    def page() -> Reply:
        body = _shell().replace(PLACE, summary(facts()))
        return Reply(200, body.encode("utf-8", "backslashreplace"), "text/html; charset=utf-8")

    return {"/": page, **{f"/page/{path.name}": _file(path) for path in _files()}}


def _file(path: Path) -> Page:
    return lambda: Reply(200, _content(path), TYPES[path.suffix])


def _files() -> list[Path]:
    return sorted(path for path in FOLDER.iterdir() if path.suffix in TYPES)


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _shell() -> str:
    return (FOLDER / "index.html").read_text(encoding="utf-8")
