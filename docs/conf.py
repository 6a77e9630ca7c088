"""How ``make docs`` builds the pages: Sphinx with MyST, every warning an error, output in build/docs (decision 27)."""

import re
import sys
from pathlib import Path
from typing import Any, Final

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DOCS: Final = Path(__file__).resolve().parent
ROOT: Final = DOCS.parent
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SOURCE: Final = PROJECT.get("urls", {}).get("Source")
"""Where the files of the repository are on the web; None as long as they are nowhere."""
LINK: Final = re.compile(r"\[(?P<text>[^\]\[]*)\]\((?!\w+:|#)(?P<path>[^)#\s]+)(?P<heading>#[^)\s]*)?\)")

project = "Prefect Agent"
html_title = project
html_theme = "furo"
root_doc = "index"
extensions = ["myst_parser", "sphinx_click"]
myst_heading_anchors = 4
nitpicky = True

COMMANDS: Final = {
    "agent": "prefect.agent.entrypoints.cli.agent:agent",
    "server": "prefect.agent.entrypoints.server.cli.commands:server",
}
"""The groups of commands that the page of the command line shows."""


def setup(app: Any) -> None:
    """Add what the plain pages do not have."""
    app.connect("source-read", _complete)
    app.connect("sphinx-click-process-arguments", _without_hidden)


def _complete(_app: Any, page: str, source: list[str]) -> None:
    text = LINK.sub(lambda link: _target(DOCS / page, link), source[0])
    if page in {root_doc, "decisions/README"}:
        text += _navigation(text)
    if page == "reference/command-line":
        text += "".join(_command(name, target) for name, target in COMMANDS.items())
    source[0] = text


def _without_hidden(_app: Any, _context: Any, lines: list[str]) -> None:
    """Leave out an argument that shows no name in the command's own help either."""
    if ".. option:: " in lines:
        lines.clear()


def _target(page: Path, link: re.Match[str]) -> str:
    """Lead a link to a folder to its first page, and one to a file outside of these pages to the web, or nowhere."""
    target, text = (page.parent / link["path"]).resolve(), link["text"]
    if not target.is_relative_to(DOCS) and target.exists():
        return f"[{text}]({SOURCE}/blob/main/{target.relative_to(ROOT)}{link['heading'] or ''})" if SOURCE else text
    first = Path(link["path"]) / "README.md"
    return f"[{text}]({first})" if (page.parent / first).is_file() else link[0]


def _navigation(page: str) -> str:
    """A hidden table of contents for each section that has a list of links, with these links."""
    sections = re.findall(r"^##? (.+?)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    return "".join(_toctree(title, _listed(body)) for title, body in sections if _listed(body))


def _listed(body: str) -> list[str]:
    return re.findall(r"^- \[[^\]]*\]\(([^):]+)\)$", body, re.MULTILINE)


def _toctree(title: str, links: list[str]) -> str:
    return f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n{chr(10).join(links)}\n```\n"


def _command(name: str, target: str) -> str:
    return f"\n```{{eval-rst}}\n.. click:: {target}\n   :prog: prefect {name}\n   :nested: full\n```\n"
