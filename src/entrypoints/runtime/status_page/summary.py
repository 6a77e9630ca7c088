"""The agent's status as plain HTML, for browsers that run no scripts. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

from prefect.agent.domain.texts import cut

MOST_ROWS: Final = 20
"""Rows of a table: the whole is at ``/status.json``."""

LONGEST: Final = 300
"""Characters of a text."""


def summary(facts: dict[str, Any]) -> str:
    """The document *facts* in short: the agent, its steps, units, flow runs and problems."""
    return "\n".join(_parts(facts))


def _parts(facts: dict[str, Any]) -> Iterator[str]:
    agent, slots = facts["agent"], facts["slots"]
    yield f"<h1>{_text(agent['name'])}: {_text(facts['status'])}</h1>"
    if facts["reason"]:
        yield f'<p class="problem">{_text(facts["reason"])}</p>'
    yield _list(
        {
            "Cloud": agent.get("cloud"),
            "Platform": agent.get("identity"),
            "Version": agent["agent_version"],
            "Labels": ", ".join(agent["labels"]) or "none",
            "Units alive": slots["alive"] if slots["limit"] is None else f"{slots['alive']} of {slots['limit']}",
            "Flow runs being started": slots["starting"],
        }
    )
    steps = ((name, _moment(step["last_success"]), step["problem"]) for name, step in facts["steps"].items())
    yield _table("Steps", ("Step", "Last success", "Problem"), steps)
    units = ((_run(unit), unit["name"], unit["status"], unit["waits_for"]) for unit in facts["units"])
    yield _table("Living units", ("Flow run", "Unit", "Status", "Waits for"), units)
    runs = ((_run(run), run["stage"], run.get("state"), run["message"]) for run in facts["runs"])
    yield _table("Latest flow runs", ("Flow run", "Stage", "State", "Message"), runs)
    problems = ((problem["count"], _moment(problem["last_at"]), problem["message"]) for problem in facts["problems"])
    yield _table("Warnings and errors", ("Times", "Last", "Message"), problems)


def _run(about: dict[str, Any]) -> str:
    return str(about.get("flow_run_name") or about["flow_run_id"])


def _moment(iso: str | None) -> datetime | None:
    return None if iso is None else datetime.fromisoformat(iso)


def _list(items: dict[str, Any]) -> str:
    return f"<dl>{''.join(f'<dt>{_text(name)}</dt><dd>{_text(value)}</dd>' for name, value in items.items())}</dl>"


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    body = "".join(f"<tr>{''.join(f'<td>{_text(cell)}</td>' for cell in row)}</tr>" for row in list(rows)[:MOST_ROWS])
    if not body:
        return f"<h2>{title}</h2><p>None.</p>"
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<h2>{title}</h2><div class="scroll">{table}</div>'


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return f"<time>{value:%Y-%m-%d %H:%M:%S %Z}</time>"
    return escape("-" if value is None else cut(str(value), LONGEST))
