"""``prefect agent run``: creates a flow run, and follows it if that is wanted."""

import json
import sys
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
from click.core import ParameterSource

from prefect.agent.__main__ import INTERRUPTED
from prefect.agent.domain.errors import AgentError, OutcomeUnknown, RequestRejected
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.orders import (
    FlowDraft,
    RunOrder,
    StoryEntry,
    due_time,
    flow_reference,
    parameters,
    said_of_past,
    unknown_parameters,
)
from prefect.agent.domain.model.states import Outcome, State
from prefect.agent.domain.texts import escaped, escaped_lines
from prefect.agent.entrypoints.cli.completing import LABEL
from prefect.agent.entrypoints.cli.logins import LOGIN, connected, login_options
from prefect.agent.entrypoints.cli.naming import names_like, only_draft
from prefect.agent.entrypoints.runtime import outlet, standard_streams
from prefect.agent.entrypoints.runtime.exits import exit_for

if TYPE_CHECKING:
    from prefect.agent.ports.clock import Clock
    from prefect.agent.ports.cloud_api import CloudApi

EXITS: Final = {Outcome.SUCCESS: 0, Outcome.FAILURE: 1, Outcome.CANCELLED: 3}
"""The exit code by the end of a run that is watched."""

GOES_ON: Final = 4
"""The exit code if the run has not ended when the watch is over."""

A_DAY: Final = 86_400.0
BEGINNING: Final = datetime.min.replace(tzinfo=timezone.utc)
"""No time is over at it."""

TRIES: Final = 5
"""How often an order is sent whose outcome is unknown: its key keeps it from creating a second run."""


@click.command("run")
@click.argument("flow", metavar="FLOW")
@click.option(
    "--project", metavar="NAME", help="The flow's project, if several have a flow of that name. Default: any."
)
@click.option(
    "--param",
    "-p",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a parameter of the flow. The value is JSON if it can be read as JSON, else text. Repeatable.",
)
@click.option(
    "--label",
    "-l",
    "labels",
    type=LABEL,
    multiple=True,
    help="Give the run this label. Repeatable. Default: the flow's.",
)
@click.option("--name", "-n", metavar="NAME", help="Name of the run. Default: the Cloud chooses one.")
@click.option("--at", metavar="TIME", help="When to start: 2030-01-31T08:00:00+01:00, or +10m from now. Default: now.")
@click.option(
    "--idempotency-key", metavar="KEY", help="Create no second run of the flow with the same key. Default: no key."
)
@click.option("--watch", "-w", is_flag=True, help="Show the run's states and its log until it has ended.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=A_DAY,
    metavar="S",
    show_default=True,
    help="Watch for S seconds at most; the run itself goes on.",
)
@click.option(
    "--output",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="Print text for people, or one JSON object per line for programs.",
)
@login_options
def run_flow(flow: str, output: str, **given: Any) -> None:
    """Create a run of FLOW, and print its id and its address.

    FLOW is the flow's id, its name, or PROJECT/NAME. An agent that takes the run's labels starts it.

    With --watch the exit code is 0 if the run ended in Success, 1 if it Failed, 3 if it was Cancelled, 4 if it had not
    ended in time. Ctrl-C ends the watch with 130, and the run goes on. Wrong usage is 2.

    \b
    Examples:
        $ prefect agent run etl --param day=2030-01-31 --param 'tables=["a", "b"]' --watch
        $ prefect agent run marketing/etl --label vm --at +10m
    """
    login = {name: given.pop(name) for name in LOGIN}
    timeout = click.get_current_context().get_parameter_source("timeout")
    if timeout is ParameterSource.COMMANDLINE and not given["watch"]:
        raise click.UsageError("--timeout is for --watch: add that, or leave it out")
    _parameters(given)  # what means nothing is said before the Cloud is asked
    _due(given, BEGINNING)
    show = _Json() if output == "json" else _Text()
    try:
        with connected(login) as cloud:
            sys.exit(_run(cloud, flow, given, show))
    except AgentError as problem:
        end = exit_for(problem)
        refused = isinstance(problem, RequestRejected)
        outlet.say(f"Error: {end}", err=True)
        sys.exit(1 if refused else end.code)


@attrs.frozen
class _Text:
    """Prints for people."""

    def created(self, run_id: FlowRunId, address: str, draft: FlowDraft) -> None:
        where = f" of project {draft.project}" if draft.project else ""
        version = f" v{draft.version}" if draft.version is not None else ""
        outlet.say(escaped(f"Created flow run {run_id} of flow {draft.run.flow.name}{version}{where}"))
        if address:
            outlet.say(escaped(address))

    def entry(self, entry: StoryEntry) -> None:
        at = f"{entry.at:%H:%M:%S} " if entry.at else ""
        what = (
            f"{entry.name}: {entry.message}" if entry.is_state else f"  {entry.level:<7} {entry.name}: {entry.message}"
        )
        outlet.say(escaped_lines(f"{at}{what}"))

    def ended(self, state: State | None, _code: int) -> None:
        if state is not None:
            outlet.say(escaped(f"The flow run ended: {state.name}"))


@attrs.frozen
class _Json:
    """Prints an object per line."""

    def created(self, run_id: FlowRunId, address: str, draft: FlowDraft) -> None:
        flow = {"id": draft.run.flow.id, "name": draft.run.flow.name, "project": draft.project or None}
        self._say({"kind": "created", "id": run_id, "url": address or None, "flow": flow})

    def entry(self, entry: StoryEntry) -> None:
        kind = "state" if entry.is_state else "log"
        fields: dict[str, Any] = {"kind": kind, "at": entry.at and entry.at.isoformat(), "name": entry.name}
        self._say({**fields, **({} if entry.is_state else {"level": entry.level}), "message": entry.message})

    def ended(self, state: State | None, code: int) -> None:
        self._say({"kind": "ended", "state": state and state.name, "exit_code": code})

    def _say(self, fields: Mapping[str, Any]) -> None:
        outlet.say(json.dumps(fields))


def _run(cloud: "CloudApi", flow: str, given: Mapping[str, Any], show: _Text | _Json) -> int:
    from prefect.agent.adapters.system.clock import SystemClock  # noqa: PLC0415
    from prefect.agent.entrypoints.cli.following import Follow  # noqa: PLC0415

    clock = SystemClock()
    draft = _chosen(cloud, flow, given["project"] or "")
    now = clock.now_ahead(cloud.skew)
    order = _order(draft.run.flow.id, given, now)
    unknown = unknown_parameters(draft, order.parameters)
    if unknown:
        raise click.UsageError(unknown)
    past = said_of_past(order.due, now) if order.due else ""
    if past:
        _warn(past)
    run_id = _create(cloud, clock, order)
    _show_created(show, run_id, cloud.run_address(run_id), draft)
    if not given["watch"]:
        return 0
    try:
        follow = Follow(cloud=cloud, clock=clock, tell=show.entry, warn=_warn, seconds=given["timeout"])
        state = follow(run_id)
    except KeyboardInterrupt:
        _say_it_goes_on(run_id, "Stopped watching")
        return INTERRUPTED
    if state is None:
        _say_it_goes_on(run_id, f"The flow run has not ended within {given['timeout']:g} s")
    code = GOES_ON if state is None or state.outcome is None else EXITS[state.outcome]
    show.ended(state, code)
    return code


def _show_created(show: _Text | _Json, run_id: FlowRunId, address: str, draft: FlowDraft) -> None:
    """Print which run there is now: on stderr if stdout cannot be written, so that it is not made twice."""
    try:
        show.created(run_id, address, draft)
    except standard_streams.OutputLost:
        outlet.say(f"The flow run was created: {run_id}", err=True)
        raise


def _warn(text: str) -> None:
    outlet.say(f"Warning: {text}", err=True)


def _say_it_goes_on(run_id: FlowRunId, first: str) -> None:
    text = f"{first}: the flow run goes on. If it does not start: prefect agent why {run_id}"
    outlet.say(text, err=True)


def _chosen(cloud: "CloudApi", flow: str, project: str) -> FlowDraft:
    """The only flow.

    Raises:
        UsageError: There is none, or there are several.
    """
    wanted = flow_reference(flow, project)
    drafts = cloud.flow_drafts(wanted)
    draft = only_draft(drafts, flow)
    if draft is None:
        where = f" in the project {project!r}" if project else ""
        remedy = names_like(cloud, wanted.name).of_flow(wanted) or "register it first"
        raise click.UsageError(f"this tenant has no flow with the id or the name {flow!r}{where}: {remedy}")
    return draft


def _order(flow_id: str, given: Mapping[str, Any], now: datetime) -> RunOrder:
    return RunOrder(
        flow_id=flow_id,
        parameters=_parameters(given),
        labels=tuple(given["labels"]) or None,
        name=given["name"] or None,
        due=_due(given, now),
        key=given["idempotency_key"] or str(uuid.uuid4()),
    )


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return parameters(given["parameters"])
    except ValueError as problem:
        raise click.BadParameter(str(problem), param_hint="--param") from problem


def _due(given: Mapping[str, Any], now: datetime) -> datetime | None:
    try:
        return due_time(given["at"], now) if given["at"] else None
    except ValueError as problem:
        raise click.BadParameter(str(problem), param_hint="--at") from problem


def _create(cloud: "CloudApi", clock: "Clock", order: RunOrder) -> FlowRunId:
    """Create the run; repeat an order whose outcome is unknown.

    Raises:
        CloudError: The Cloud refuses it, or its outcome stays unknown.
    """
    for _ in range(TRIES - 1):
        try:
            return cloud.create_flow_run(order)
        except OutcomeUnknown:
            clock.pause(1.0)
    return cloud.create_flow_run(order)
