"""``prefect agent status``, ``pause``, ``resume`` and ``stop``: agents that run on this machine."""

import http.client
import json
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import click

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.explaining import span
from prefect.agent.domain.texts import escaped
from prefect.agent.entrypoints.cli.asking import AGENT_ADDRESS, Running, agent_at, running_agents
from prefect.agent.entrypoints.cli.completing import AGENT
from prefect.agent.entrypoints.runtime import outlet
from prefect.agent.entrypoints.runtime.exits import ExitCode, exit_for
from prefect.agent.entrypoints.runtime.local_endpoint import ask

SHOWN_UNITS: Final = 20
"""Living units that are listed for one agent."""

LOOK_EVERY: Final = 2.0
"""Seconds between two pictures of ``status --watch``."""


class NoAgent(Exception):
    """No agent is where one was looked for; the message says what is there."""


def _chosen(name: str | None, address: str | None = None) -> list[Running]:
    """The agent at *address*, else those of that name or process number; all if there is no name.

    Raises:
        ConfigurationError: The environment names an impossible folder of sockets.
        NoAgent: There is none.
    """
    if address is not None:
        return [_there(address)]
    found = list(running_agents(clean_up=True))
    chosen = [each for each in found if name is None or name in {each.name, str(each.pid)}]
    if chosen:
        return chosen
    others = ", ".join(f"{each.name} ({each.pid})" for each in found)
    raise NoAgent(f"no agent {name!r} runs here; there are: {others}" if found else "no agent of this user runs here")


def _there(address: str) -> Running:
    try:
        return agent_at(address)
    except ValueError as problem:
        raise NoAgent(f"no agent at {address}: {problem}") from problem


@contextmanager
def _ended_in_words() -> Generator[None]:
    """End the process with one sentence if there is no agent."""
    try:
        yield
    except (ConfigurationError, NoAgent) as problem:
        outlet.say(f"Error: {problem}", err=True)
        code = ExitCode.CLOUD_UNAVAILABLE if isinstance(problem, NoAgent) else exit_for(problem).code
        sys.exit(int(code))


def _one(name: str | None) -> Running:
    chosen = _chosen(name)
    if len(chosen) > 1:
        which = ", ".join(f"{each.name} ({each.pid})" for each in chosen)
        raise click.UsageError(f"several agents run here, name one of them by name or process number: {which}")
    return chosen[0]


@click.command()
@click.argument("name", required=False, type=AGENT)
@click.option("--watch", is_flag=True, help="Show the status again and again, until Ctrl-C.")
@click.option("--output", type=click.Choice(("text", "json")), default="text", show_default=True, help="Format.")
@AGENT_ADDRESS
def status(name: str | None, *, watch: bool, output: str, agent_address: str | None) -> None:
    """Show what the agents of this machine do. NAME is an agent's name or process number; default: all.

    With --agent-address, show the one agent that serves its health there instead.

    Exits with 0 if all of them are healthy, with 1 if one is not, with 69 if there is none; --watch ends with Ctrl-C
    and 0.

    \b
    Examples:
        $ prefect agent status
        $ prefect agent status my-agent --watch
        $ prefect agent status --output json
        $ prefect agent status --agent-address http://10.0.0.7:8080
    """
    if name is not None and agent_address is not None:
        raise click.UsageError("--agent-address names one agent already: leave NAME out")
    if watch:
        with _ended_in_words(), suppress(KeyboardInterrupt):
            _watch(name, agent_address, output)
        return
    with _ended_in_words():
        agents = _chosen(name, agent_address)
    outlet.say(*_shown(agents, output))
    sys.exit(int(any(not each.facts["healthy"] for each in agents)))


def _watch(name: str | None, address: str | None, output: str) -> None:
    """Show the status until Ctrl-C, also while no agent is there: one that restarts is seen again."""
    while True:
        try:
            lines = list(_shown(_chosen(name, address), output))
        except NoAgent as problem:
            lines = [] if output == "json" else [f"{problem}"]
        if sys.stdout.isatty():
            click.clear()
        outlet.say(*lines)
        time.sleep(LOOK_EVERY)


def _shown(agents: Sequence[Running], output: str) -> Iterator[str]:
    if output == "json":
        yield json.dumps([each.facts for each in agents], indent=2)
    else:
        yield from map(escaped, _pictures(agents))


@click.command()
@click.argument("name", required=False, type=AGENT)
def pause(name: str | None) -> None:
    """Let an agent claim nothing new; flow runs that execute go on, and are reported.

    \b
    Examples:
        $ prefect agent pause
        $ prefect agent pause my-agent
    """
    _act(name, "/pause", "paused; `prefect agent resume` lets it claim again")


@click.command()
@click.argument("name", required=False, type=AGENT)
def resume(name: str | None) -> None:
    """Let a paused agent claim flow runs again.

    \b
    Examples:
        $ prefect agent resume
    """
    _act(name, "/resume", "claims flow runs again")


@click.command()
@click.argument("name", required=False, type=AGENT)
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
    with _ended_in_words():
        agent = _one(name)
    try:
        code, body = ask(Path(agent.where), "POST", target)
    except (OSError, http.client.HTTPException) as problem:
        if target != "/stop-now":  # which may end before it has answered
            outlet.say(f"Error: {agent.name} ({agent.pid}) does not answer: {problem}", err=True)
            sys.exit(int(ExitCode.CLOUD_UNAVAILABLE))
        code, body = 200, b""
    if code != 200:
        outlet.say(f"Error: {agent.name} ({agent.pid}) answers {code}: {body.decode(errors='replace')[:300]}", err=True)
        sys.exit(int(ExitCode.SOFTWARE))
    outlet.say(f"{agent.name} ({agent.pid}) {what}")


def _begun(run: dict[str, Any]) -> str:
    """One run that is being started."""
    waits = f"  waits for: {run['problem']}" if run.get("problem") else ""
    return f"    {run['stage']:<8} {_title(run) or run['flow_run_id']}{waits}"


def _unit(unit: dict[str, Any]) -> str:
    """One living unit, with the names of its run if the agent has started it."""
    title = _title(unit)
    waits = f"  waits for: {unit['waits_for']}" if unit["waits_for"] else ""
    return f"    {unit['status']:<8} {f'{title}  ' if title else ''}{unit['name']}{waits}"


def _title(names: dict[str, Any]) -> str:
    return f"{names.get('flow_name') or '?'}/{names['flow_run_name']}" if names.get("flow_run_name") else ""


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
    begun = [run for run in facts["runs"] if run["stage"] in {"starting", "retrying"}]
    yield from (_begun(run) for run in begun[:SHOWN_UNITS])
    yield from map(_unit, facts["units"][:SHOWN_UNITS])
    if len(facts["units"]) > SHOWN_UNITS:
        yield f"    and {slots['alive'] - SHOWN_UNITS} more"
    for problem in facts["problems"][:5]:
        times = f" ({problem['count']} times)" if problem["count"] > 1 else ""
        yield f"  ! {problem['message'][:200]}{times}"


def _step(name: str, step: dict[str, Any]) -> str:
    if step["problem"]:
        return f"{name} FAILS"
    return f"{name} -" if step["seconds_since"] is None else f"{name} {span(_seconds(step['seconds_since']))} ago"


def _seconds(value: float) -> timedelta:
    return timedelta(seconds=value)
