"""``prefect agent status``, ``pause``, ``resume`` and ``stop``: agents that run on this machine."""

import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import attrs
import click

from prefect.agent.domain.model.explaining import span
from prefect.agent.domain.texts import escaped
from prefect.agent.entrypoints.runtime import outlet
from prefect.agent.entrypoints.runtime.exits import ExitCode
from prefect.agent.entrypoints.runtime.local_endpoint import SUFFIX, ask
from prefect.agent.entrypoints.settings.runtime_directory import looked_at

LOOK_EVERY: Final = 2.0
"""Seconds between two pictures of ``status --watch``."""


@attrs.frozen
class Running:
    """One agent that answers at its socket."""

    path: Path
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """The agent's name."""
        return str(self.facts["agent"]["name"])

    @property
    def pid(self) -> int:
        """The agent's process."""
        return int(self.facts["agent"]["pid"])


def running_agents() -> Iterator[Running]:
    """Agents of this user on this machine; a socket that no process listens at any more is removed."""
    for folder in looked_at(os.environ):
        with suppress(OSError):
            for path in sorted(folder.glob(f"*{SUFFIX}")):
                found = _asked(path)
                if found is not None:
                    yield found


def _asked(path: Path) -> Running | None:
    try:
        status, body = ask(path, "GET", "/status.json")
        return Running(path, json.loads(body)) if status == 200 else None
    except ConnectionRefusedError:  # its process is gone
        with suppress(OSError):
            path.unlink()
    except (OSError, http.client.HTTPException, ValueError):
        pass
    return None


def _chosen(name: str | None) -> list[Running]:
    """The agents of that name or process number; all if there is no name. Ends the process if there is none."""
    found = list(running_agents())
    chosen = [each for each in found if name is None or name in {each.name, str(each.pid)}]
    if chosen:
        return chosen
    others = ", ".join(f"{each.name} ({each.pid})" for each in found)
    which = f"no agent {name!r} runs here; there are: {others}" if found else "no agent of this user runs here"
    outlet.say(f"Error: {which}", err=True)
    sys.exit(int(ExitCode.CLOUD_UNAVAILABLE))


def _one(name: str | None) -> Running:
    chosen = _chosen(name)
    if len(chosen) > 1:
        which = ", ".join(f"{each.name} ({each.pid})" for each in chosen)
        raise click.UsageError(f"several agents run here, name one of them by name or process number: {which}")
    return chosen[0]


@click.command()
@click.argument("name", required=False)
@click.option("--watch", is_flag=True, help="Show the status again and again, until Ctrl-C.")
@click.option("--output", type=click.Choice(("text", "json")), default="text", show_default=True, help="Format.")
def status(name: str | None, *, watch: bool, output: str) -> None:
    """Show what the agents of this machine do. NAME is an agent's name or process number; default: all.

    Exits with 0 if all of them are healthy, with 1 if one is not, with 69 if there is none.

    \b
    Examples:
        $ prefect agent status
        $ prefect agent status my-agent --watch
        $ prefect agent status --output json
    """
    while True:
        agents = _chosen(name)
        if output == "json":
            outlet.say(json.dumps([each.facts for each in agents], indent=2))
        else:
            outlet.say(*map(escaped, _pictures(agents)))
        if not watch:
            sys.exit(int(any(not each.facts["healthy"] for each in agents)))
        time.sleep(LOOK_EVERY)
        if sys.stdout.isatty():
            click.clear()


@click.command()
@click.argument("name", required=False)
def pause(name: str | None) -> None:
    """Let an agent claim nothing new; flow runs that execute go on, and are reported.

    \b
    Examples:
        $ prefect agent pause
        $ prefect agent pause my-agent
    """
    _act(name, "/pause", "paused; `prefect agent resume` lets it claim again")


@click.command()
@click.argument("name", required=False)
def resume(name: str | None) -> None:
    """Let a paused agent claim flow runs again.

    \b
    Examples:
        $ prefect agent resume
    """
    _act(name, "/resume", "claims flow runs again")


@click.command()
@click.argument("name", required=False)
@click.option("--now", is_flag=True, help="End the process at once; the next agent here sees to what was in hand.")
def stop(name: str | None, *, now: bool) -> None:
    """Let an agent finish what it has in hand, and end. Flow runs that execute go on.

    \b
    Examples:
        $ prefect agent stop
        $ prefect agent stop my-agent --now
    """
    _act(name, "/stop-now" if now else "/stop", "ends at once" if now else "finishes what is in hand, and ends")


def _act(name: str | None, target: str, what: str) -> None:
    agent = _one(name)
    try:
        code, body = ask(agent.path, "POST", target)
    except (OSError, http.client.HTTPException) as problem:
        if target != "/stop-now":  # which may end before it has answered
            outlet.say(f"Error: {agent.name} ({agent.pid}) does not answer: {problem}", err=True)
            sys.exit(int(ExitCode.CLOUD_UNAVAILABLE))
        code, body = 200, b""
    if code != 200:
        outlet.say(f"Error: {agent.name} ({agent.pid}) answers {code}: {body.decode(errors='replace')[:300]}", err=True)
        sys.exit(int(ExitCode.SOFTWARE))
    outlet.say(f"{agent.name} ({agent.pid}) {what}")


def _pictures(agents: Sequence[Running]) -> Iterator[str]:
    for number, agent in enumerate(agents):
        if number:
            yield ""
        yield from picture(agent.facts)


def picture(facts: dict[str, Any]) -> Iterator[str]:
    """The status of one agent as lines for people."""
    agent, slots = facts["agent"], facts["slots"]
    up = span(_seconds(agent["uptime_s"]))
    yield f"{agent['name']}  {facts['status']}  {agent.get('type', 'Agent')}, process {agent['pid']}, up {up}"
    if facts["reason"]:
        yield f"  x {facts['reason']}"
    yield f"  Cloud     {agent.get('cloud') or 'in memory'}, tenant {agent.get('tenant', 'unknown')}"
    yield f"  platform  {agent.get('identity', 'unknown')}"
    yield f"  labels    {', '.join(agent['labels']) or '(none)'}"
    most = "" if slots["limit"] is None else f" of {slots['limit']}"
    yield (
        f"  units     {slots['alive']}{most} alive, {slots['starting']} being started, {slots['waiting']} not due yet; "
        f"{facts['reports_waiting']} with reports to send"
    )
    yield "  steps     " + ", ".join(_step(name, step) for name, step in facts["steps"].items())
    for unit in facts["units"][:20]:
        waits = f"  waits for: {unit['waits_for']}" if unit["waits_for"] else ""
        yield f"    {unit['status']:<8} {unit['name']}{waits}"
    for problem in facts["problems"][:5]:
        times = f" ({problem['count']} times)" if problem["count"] > 1 else ""
        yield f"  ! {problem['message'][:200]}{times}"


def _step(name: str, step: dict[str, Any]) -> str:
    if step["problem"]:
        return f"{name} FAILS"
    return f"{name} -" if step["seconds_since"] is None else f"{name} {span(_seconds(step['seconds_since']))} ago"


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)
