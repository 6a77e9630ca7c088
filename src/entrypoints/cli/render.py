"""``prefect agent render``: what a flow run would become with an agent's options."""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from prefect.agent.domain.errors import AgentError, RequestRejected, SubmissionRefused
from prefect.agent.domain.model.explaining import reference
from prefect.agent.domain.model.orders import flow_reference
from prefect.agent.domain.secrets import MASK
from prefect.agent.entrypoints import platforms
from prefect.agent.entrypoints.cli import options
from prefect.agent.entrypoints.cli.completing import PLATFORM
from prefect.agent.entrypoints.cli.naming import names_like, only_draft
from prefect.agent.entrypoints.cli.platform_command import PlatformCommand
from prefect.agent.entrypoints.cli.start import secrets_of, with_patience
from prefect.agent.entrypoints.runtime import outlet
from prefect.agent.entrypoints.runtime.exits import exit_for

if TYPE_CHECKING:
    from prefect.agent.domain.model.flow_runs import FlowRun
    from prefect.agent.ports.cloud_api import CloudApi

REFUSED = 1
"""The exit code if the agent would let the run fail."""


@click.command(cls=PlatformCommand)
@click.argument("what", metavar="RUN|FLOW")
@click.option(
    "--platform",
    default="local",
    show_default=True,
    type=PLATFORM,
    metavar=options.AGENTS,
    help="Show what an agent of this platform would make.",
)
@click.option(
    "--project", metavar="NAME", help="The flow's project, if several have a flow of that name. Default: any."
)
@click.option(
    "--output", type=click.Choice(("yaml", "json")), default="yaml", show_default=True, help="How to write it."
)
@options.common
@options.every_platform
def render(what: str, platform: str, project: str | None, output: str, **given: Any) -> None:
    """Show what a flow run would become: container, Job or process, with secrets masked.

    RUN|FLOW is the id, name or address of a flow run, or the id, name or PROJECT/NAME of a flow. Give the options of
    the agent, as for start. Nothing is created and nothing is claimed.

    The exit code is 1 if an agent with these options would refuse the run, and 2 if there is neither run nor flow.

    \b
    Examples:
        $ prefect agent render crimson-dolphin --platform docker --volume /data:/data
        $ prefect agent render etl --platform kubernetes --namespace flows
    """
    outlet.know(secrets_of(given))
    try:
        documents = _rendered(what, platforms.class_of(platform), project or "", with_patience(given))
    except SubmissionRefused as refusal:
        outlet.say(f"This agent would refuse the flow run: {refusal}", err=True)
        sys.exit(REFUSED)
    except AgentError as problem:
        end = exit_for(problem)
        outlet.say(f"Error: {end}", err=True)
        sys.exit(end.code)
    outlet.say(_written(documents, output))


def masked(value: Any, names: Collection[str]) -> Any:
    """*value* without the values of the variables *names*, whether in a mapping or in a list of ``NAME=VALUE``."""
    if isinstance(value, Mapping):
        return {
            name: MASK if name in names and isinstance(each, str) else masked(each, names)
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [masked(each, names) for each in value]
    name, equals, _ = value.partition("=") if isinstance(value, str) else ("", "", "")
    return f"{name}={MASK}" if equals and name in names else value


def _rendered(what: str, class_name: str, project: str, given: dict[str, Any]) -> Sequence[Any]:
    from prefect.agent.entrypoints.cli.unstarted import unstarted  # noqa: PLC0415 - heavy

    with unstarted(class_name, given) as agent:
        agent.parts.cloud.connect()
        submission = agent.planned(_run_of(agent.parts.cloud, what, project))
        agent.mask.add(*submission.secret_env.values())
        documents = agent.parts.platform.preview(submission)
        return [agent.mask.value(masked(document, submission.secret_env.keys())) for document in documents]


def _run_of(cloud: "CloudApi", what: str, project: str) -> "FlowRun":
    """The run that *what* names, else a draft of the flow.

    Raises:
        UsageError: There is neither, or there are several flows.
        CloudError: The Cloud does not say.
    """
    wanted = reference(what)
    try:
        facts = None if project else cloud.facts(wanted)
        run_id = facts.id if facts else None
    except RequestRejected:  # this Cloud cannot look for names
        run_id = wanted.run_id
    found = cloud.flow_runs([run_id]) if run_id else ()
    if found:
        return found[0]
    wanted_flow = flow_reference(what, project)
    draft = only_draft(cloud.flow_drafts(wanted_flow), what)
    if draft is not None:
        outlet.say("There is no such flow run: this is what a new run of the flow would become", err=True)
        return draft.run
    known = names_like(cloud, wanted_flow.name)
    remedy = known.of_flow(wanted_flow) or known.of_run(wanted.name) or "correct it, or register the flow first"
    raise click.UsageError(f"this tenant has neither a flow run nor a flow with the id or the name {what!r}: {remedy}")


def _written(documents: Sequence[Any], output: str) -> str:
    from prefect.agent.entrypoints.install.yaml_text import dump  # noqa: PLC0415 - PyYAML

    if output == "json":
        return json.dumps(documents[0] if len(documents) == 1 else documents, indent=2)
    return "---\n".join(dump(document) for document in documents).rstrip("\n")
