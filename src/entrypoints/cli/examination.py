"""The steps of ``prefect agent doctor``: the configuration, then what Cloud and platform have to be asked."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from prefect.agent.adapters.folders import look_at
from prefect.agent.adapters.reports import state_directory
from prefect.agent.domain.errors import PlatformError, SubmissionRefused
from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.model.checks import IMAGES, Fact, Noted, Severity, Step
from prefect.agent.domain.model.explaining import Reference, RunFacts, explain
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.policy import judge
from prefect.agent.domain.model.submissions import plan_submission
from prefect.agent.domain.secrets import passwords_of
from prefect.agent.domain.services.noticing import OTHERS
from prefect.agent.domain.texts import readable_name
from prefect.agent.entrypoints.cli.start import chosen, load
from prefect.agent.entrypoints.container import Parts, build
from prefect.agent.entrypoints.factories import Options
from prefect.agent.entrypoints.library.agent import Agent
from prefect.agent.entrypoints.platforms import options_of
from prefect.agent.entrypoints.runtime import outlet
from prefect.agent.entrypoints.settings.configuration import Configuration
from prefect.agent.entrypoints.settings.doubts import doubts
from prefect.agent.entrypoints.settings.exposures import of_login
from prefect.agent.entrypoints.settings.secret_sources import strip_proxies
from prefect.agent.entrypoints.settings.values import sound

MOST_FLOWS: Final = 200
"""Flows that are looked at, the latest first."""

MOST_RUNS: Final = 20
"""Waiting runs that are looked at: each costs a request."""

MOST_SHOWN: Final = 10
"""Findings of one kind that are shown."""

STATE_FORBIDDEN: Final = 0o002
"""Mode bits with which the state directory is refused."""

NOT_OF_AGENTS: Final = frozenset({"config", "verbose", "log_level", "log_format"})
"""Options of the command line that are no argument of an agent."""

SETTINGS, CLOUD, KEY, PLATFORM, FLOWS = "configuration", "cloud", "key", "platform", "flows"


class Doctor:
    """Looks at one agent that is not started.

    Args:
        class_name: Of the agent: ``module:Class``, or a platform's name.
        given: The options of its command line.
        environ: The variables of this process; proxies in it are tidied as at the start of an agent.
    """

    def __init__(self, class_name: str, given: Mapping[str, Any], environ: MutableMapping[str, str]) -> None:
        self._class_name, self._given, self._environ = class_name, given, environ
        self._found: Configuration | None = None
        self._options: Options | None = None
        self._parts: Parts | None = None
        self._images: set[str] = set()
        self._is_platform_made = False

    def steps(self) -> Iterator[Step]:
        """All steps, in order. What comes later depends on how the earlier ones went: ask each before the next."""
        yield Step(name=SETTINGS, ask=self._configure)
        yield Step(name="secrets", ask=self._exposures, needs=(SETTINGS,))
        yield Step(name="state-directory", ask=self._state, needs=(SETTINGS,))
        if self._parts is None:
            yield Step(name=CLOUD, ask=tuple, needs=(SETTINGS,))
            yield Step(name=PLATFORM, ask=tuple, needs=(SETTINGS,))
            return
        yield from self._parts.cloud.checks()
        yield Step(name=PLATFORM, ask=self._make_platform)
        yield Step(name=FLOWS, ask=self._flows, needs=(KEY, PLATFORM))
        if self._is_platform_made:
            for step in self._parts.platform.checks(lambda: self._images):
                needs = (*step.needs, FLOWS) if step.name == IMAGES else step.needs
                yield attrs.evolve(step, needs=needs)
        yield Step(name="waiting-runs", ask=self._waiting, needs=(KEY,))

    def close(self) -> None:
        """Let go of connections."""
        if self._parts is not None:
            self._parts.cloud.close()
            if self._is_platform_made:
                self._parts.platform.close()

    # --- what is decided before anything is asked ---

    def _configure(self) -> Iterator[Fact]:
        strip_proxies(self._environ)
        found = self._found = Configuration.load(self._environ, self._given.get("config"))
        mask = outlet.know(found.secrets())
        given = {name: value for name, value in self._given.items() if name not in NOT_OF_AGENTS}
        mask.add(*(given.get(name) or "" for name in ("key", "flow_run_key")), *passwords_of(given.get("api") or ""))
        found.level("cloud.agent.level")
        name = sound(given.pop("name") or "", "--name") or found.text("cloud.agent.name") or "agent"
        agent: Agent = load(self._class_name)(**chosen(given, found, name))
        self._options = options = agent.options
        login = options.connection
        if login is not None:
            mask.add(login.key or "", login.flow_run_key or "", *passwords_of(login.api))
        self._parts = build(options)
        read = ", ".join(str(path) for path in found.paths if path.exists()) or "no file"
        labels = ", ".join(options.settings.labels) or "none"
        yield Noted(text=f"Read: {read}, and the environment. Labels of the agent: {labels}.")
        declared = {option.variable for option in options_of(options.platform)}
        for text in doubts(found, options.settings.labels, declared):
            yield Noted(severity=Severity.WARN, text=_sentence(text), remedies=("correct or remove it",))

    def _exposures(self) -> Iterator[Fact]:
        if self._options is None or self._found is None or self._options.connection is None:
            return
        files = (self._given.get("key_file"), self._given.get("flow_run_key_file"))
        texts = of_login(self._options.connection, self._found, files)
        yield from (_exposure(text) for text in texts)
        if not texts:
            yield Noted(text="Others can neither read the secrets nor write the configuration.")

    def _state(self) -> Iterator[Fact]:
        given = None if self._options is None else self._options.state_directory
        path, is_named = state_directory(given, environ=self._environ)
        yield look_at(path, "reports that wait for the Cloud", forbidden=STATE_FORBIDDEN, is_needed=is_named)

    # --- the platform, and what the Cloud has for it ---

    def _make_platform(self) -> Iterator[Fact]:
        if self._parts is not None:
            yield from (_exposure(text) for text in self._parts.platform.exposures)
            self._is_platform_made = True

    def _flows(self) -> Iterator[Fact]:
        if self._parts is None or self._options is None:
            return
        drafts = self._parts.cloud.drafts(labels=self._options.settings.labels, limit=MOST_FLOWS)
        refusals = [(run.flow.name, text) for run in drafts if (text := self._refusal(run, self._parts, self._options))]
        yield Noted(text=f"Of {len(drafts)} flows with these labels {len(drafts) - len(refusals)} can run here.")
        for flow, text in refusals[:MOST_SHOWN]:
            remedy = "change its run config or its labels, or the agent's policy"
            yield Noted(
                severity=Severity.WARN, text=f"Runs of {readable_name(flow)} fail here: {text}.", remedies=(remedy,)
            )

    def _refusal(self, run: FlowRun, parts: Parts, options: Options) -> str:
        """Why a run of this flow would be refused; empty if it would not be. Its image is remembered."""
        traits = parts.platform.traits
        try:
            submission = plan_submission(run, parts.cloud.workload(run), traits, agent_env=options.settings.env)
            demands = parts.platform.demands(submission)
        except SubmissionRefused as refusal:
            return str(refusal)
        except PlatformError:  # it does not say now
            return ""
        if submission.image:
            self._images.add(submission.image)
        return judge(options.policy, demands) or ""

    def _waiting(self) -> Iterator[Fact]:
        if self._parts is None or self._options is None:
            return
        cloud, labels = self._parts.cloud, frozenset(self._options.settings.labels)
        due = [cloud.facts(Reference(run_id=run_id)) for run_id in cloud.late_flow_runs(by=timedelta())[:MOST_RUNS]]
        known = [facts for facts in due if facts is not None]
        fitting = [facts for facts in known if labels_match(facts.labels, labels)]
        yield Noted(text=f"{len(known)} flow runs are due; {len(fitting)} of them fit the agent's labels.")
        lost: dict[str, list[RunFacts]] = {}
        for facts in known:
            if facts not in fitting and (text := _untaken(facts)):
                lost.setdefault(text, []).append(facts)
        yield from (_lost(text, runs) for text, runs in list(lost.items())[:MOST_SHOWN])


def _lost(text: str, runs: Sequence[RunFacts]) -> Noted:
    """Runs that no agent takes, for one reason."""
    names = ", ".join(readable_name(facts.name) for facts in runs[:MOST_SHOWN])
    more = f" and {len(runs) - MOST_SHOWN} more" if len(runs) > MOST_SHOWN else ""
    remedy = f"prefect agent why {runs[0].id}"
    return Noted(severity=Severity.WARN, text=f"{names}{more}: {text}", remedies=(remedy,))


def _untaken(facts: RunFacts) -> str:
    """Why no agent takes the run; empty if one does."""
    return next((finding.text for finding in explain(facts) if finding.cause in OTHERS), "")


def _exposure(text: str) -> Noted:
    return Noted(severity=Severity.WARN, text=_sentence(text))


def _sentence(text: str) -> str:
    """*text* with a capital at its front and a mark at its end."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?')) else '.'}"
