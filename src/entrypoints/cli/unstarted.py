"""An agent that is made as ``start`` makes it, and is not started: for what only looks."""

import os
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import attrs

from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.policy import judge
from prefect.agent.domain.model.submissions import Submission, plan_submission
from prefect.agent.domain.model.units import Owner, owner
from prefect.agent.domain.secrets import Mask, passwords_of
from prefect.agent.entrypoints.cli.start import chosen, load
from prefect.agent.entrypoints.container import Parts, build
from prefect.agent.entrypoints.factories import Options
from prefect.agent.entrypoints.library.agent import Agent
from prefect.agent.entrypoints.runtime import outlet
from prefect.agent.entrypoints.settings.configuration import Configuration
from prefect.agent.entrypoints.settings.secret_sources import strip_proxies
from prefect.agent.entrypoints.settings.values import sound
from prefect.agent.ports import events
from prefect.agent.ports.events import EventSink

LOG_OPTIONS = frozenset({"verbose", "log_level", "log_format"})


@attrs.frozen
class Unstarted:
    """What such an agent is made of.

    Attributes:
        mask: Knows the secrets of the options, and those of the platform.
    """

    options: Options
    parts: Parts
    mask: Mask

    @property
    def owner(self) -> Owner:
        """The mark of its units. Known once the Cloud is connected."""
        settings = self.options.settings
        return owner(self.parts.cloud.identity, settings.name, settings.labels)

    def planned(self, run: FlowRun) -> Submission:
        """What the platform would be given for *run*.

        Raises:
            SubmissionRefused: The run cannot run here, or the policy refuses it.
            PlatformError: The platform does not say what the run asks for.
        """
        parts, options = self.parts, self.options
        plan = plan_submission(run, parts.cloud.workload(run), parts.platform.traits, agent_env=options.settings.env)
        submission = attrs.evolve(plan, owner=self.owner)
        if not options.policy.is_open:
            refusal = judge(options.policy, parts.platform.demands(submission))
            if refusal is not None:
                raise SubmissionRefused(refusal)
        return submission


@contextmanager
def unstarted(class_name: str, given: Mapping[str, Any], *, tell: EventSink = events.ignore) -> Generator[Unstarted]:
    """The agent of a command line; its connections are closed in the end.

    Args:
        class_name: ``module:Class``, or a platform's name.
        given: The options of the command line.
        tell: Takes the events of the parts.

    Raises:
        ConfigurationError: An agent cannot be made of them.
    """
    strip_proxies(os.environ)
    found = Configuration.load(os.environ)
    mask = outlet.know([given["key"] or "", given["flow_run_key"] or "", *passwords_of(given["api"] or "")])
    mask.add(*found.secrets())
    words = {name: value for name, value in given.items() if name not in LOG_OPTIONS}
    name = sound(words.pop("name") or "", "--name") or found.text("cloud.agent.name") or "agent"
    agent: Agent = load(class_name)(**chosen(words, found, name))
    mask.learn(agent.options.mask)
    parts = build(agent.options, tell=tell)
    with closing(parts.platform) as platform, closing(parts.cloud):
        mask.add_source(lambda: platform.secrets)
        yield Unstarted(agent.options, parts, mask)
