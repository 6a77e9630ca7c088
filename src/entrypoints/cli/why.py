"""``prefect agent why``: says why a flow run does not start, and what to do."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from prefect.agent.domain.errors import AgentError, PlatformError
from prefect.agent.domain.model.explaining import (
    AskedAgent,
    Finding,
    RunFacts,
    UnitFacts,
    explain,
    reference,
    span,
    unknown_run,
)
from prefect.agent.domain.model.known_names import KnownNames
from prefect.agent.domain.texts import escaped
from prefect.agent.entrypoints.cli import options
from prefect.agent.entrypoints.cli.asking import AGENT_ADDRESS, asked_agents
from prefect.agent.entrypoints.cli.completing import PLATFORM
from prefect.agent.entrypoints.cli.logins import connected_to_tenant, login_options
from prefect.agent.entrypoints.cli.naming import names_like
from prefect.agent.entrypoints.runtime import outlet
from prefect.agent.entrypoints.runtime.exits import exit_for

if TYPE_CHECKING:
    from prefect.agent.ports.platform import ExecutionPlatform


WIDEST: Final = 40
"""Letters in one cell of a table."""


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("platform", required=False, type=PLATFORM, metavar=f"[{options.PLATFORMS}]")
@login_options
@click.option("--namespace", metavar="NAME", help="Look for Jobs in this namespace. Default: the agent's namespace.")
@AGENT_ADDRESS
@click.option(
    "--output",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="Print text for people or JSON for programs.",
)
def why(
    run: str,
    platform: str | None,
    *,
    output: str,
    namespace: str | None,
    agent_address: str | None,
    **login: str | None,
) -> None:
    """Say why a flow run does not start, and what to do about it. This command changes nothing.

    RUN is the run's id, its name (the latest run of that name), the address that the client prints, or the name of its
    container, Job or pod. Name a platform to look for the run's unit there, too; then call the command where the agent
    runs. Agents of this machine are asked whether they are full, paused or unhealthy; name one of another machine with
    --agent-address.

    The exit code is 0 if nothing prevents the run from starting, else 1.

    \b
    Examples:
        $ prefect agent why crimson-dolphin
        $ prefect agent why http://localhost:8080/default/flow-run/01a22128-7c50-7b11-8f6c-9f0c2d1f0e11 docker
        $ prefect agent why crimson-dolphin --agent-address http://10.0.0.7:8080
    """
    if namespace and platform != "kubernetes":
        raise click.UsageError("--namespace is for kubernetes: name that platform, or leave the option out")
    try:
        tenant, facts, known = _facts(run, login)
        unit = _unit(facts, platform, {"namespace": namespace} if namespace else {}) if facts and platform else None
        asked = _asked(facts, tenant, agent_address) if facts else []
    except AgentError as problem:
        end = exit_for(problem)
        outlet.say(f"Error: {end}", err=True)
        sys.exit(end.code)
    if facts is None:
        raise click.UsageError(unknown_run(run, known))
    findings = explain(facts, unit, asked)
    outlet.say(*([_as_json(facts, findings)] if output == "json" else map(escaped, _as_text(facts, findings))))
    sys.exit(int(any(finding.stops for finding in findings)))


def _asked(facts: RunFacts, tenant: str, address: str | None) -> list[AskedAgent]:
    """How agents are, if that decides whether the run starts."""
    return list(asked_agents(tenant, address)) if facts.state.is_waiting or facts.state.is_open else []


def _facts(run: str, login: dict[str, str | None]) -> tuple[str, RunFacts | None, KnownNames]:
    """The tenant's id, and the facts about the run; if there is none, the names that there are."""
    wanted = reference(run)
    with connected_to_tenant(login) as (cloud, tenant):
        facts = cloud.facts(wanted)
        return tenant.id, facts, KnownNames() if facts else names_like(cloud, wanted.name)


def _unit(facts: RunFacts, name: str, options: dict[str, Any]) -> UnitFacts | None:
    from prefect.agent.entrypoints.factories import platform_factory  # noqa: PLC0415

    with closing(platform_factory(name)(**options)) as platform:
        try:
            return _looked(facts, platform)
        except PlatformError as problem:  # what the Cloud says is worth saying all the same
            return UnitFacts(platform="", problem=str(problem))


def _looked(facts: RunFacts, platform: "ExecutionPlatform") -> UnitFacts:
    if facts.state.is_waiting:
        alive = sum(not unit.status.has_ended for unit in platform.units())
        return UnitFacts(platform=platform.identity, alive=alive)
    places = (platform.identity, *platform.aliases)
    if facts.claim is None or facts.claim.platform not in places:
        return UnitFacts(platform=platform.identity)
    return UnitFacts(platform=facts.claim.platform, unit=platform.unit(facts.claim.unit))


def _as_json(facts: RunFacts, findings: Sequence[Finding]) -> str:
    run = {
        "id": facts.id,
        "name": facts.name,
        "flow": facts.flow,
        "state": facts.state.name,
        "since": facts.since.isoformat() if facts.since else None,
        "due": facts.state.start_time.isoformat() if facts.state.start_time else None,
        "labels": sorted(facts.labels),
    }
    return json.dumps({"run": run, "findings": [attrs.asdict(finding) for finding in findings]}, indent=2)


def _as_text(facts: RunFacts, findings: Sequence[Finding]) -> Iterator[str]:
    version = f" v{facts.flow_version}" if facts.flow_version is not None else ""
    since = f" for {span(facts.at - facts.since)}" if facts.since else ""
    due = f"; it was due at {facts.state.start_time:%H:%M:%S} UTC" if _is_due(facts) else ""
    is_ = "has been" if since else "is"
    yield f"{facts.name} (flow {facts.flow}{version}, {facts.id}) {is_} {facts.state.name}{since}{due}."
    for finding in findings:
        yield f"{'x' if finding.stops else 'ok':<3}{finding.text}"
        yield from (f"     {line}" for line in _aligned(finding.rows))
        if finding.remedies:
            yield "   Do one of:" if len(finding.remedies) > 1 else "   Do:"
            yield from (f"     {remedy}" for remedy in finding.remedies)


def _is_due(facts: RunFacts) -> bool:
    return facts.state.is_waiting and facts.state.start_time is not None and facts.late.total_seconds() >= 0


def _cell(word: str) -> str:
    """A cell that leaves room for its neighbours; ``--output json`` has the whole."""
    return word if len(word) <= WIDEST else f"{word[: WIDEST - 3]}..."


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    short = [[_cell(word) for word in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*short, strict=True)]
    for row in short:
        yield "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
