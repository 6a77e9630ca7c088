"""Where the Job template comes from: run config, its path, the agent's path, built in (protocol section 7.2)."""

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from prefect.agent.adapters import plain_yaml
from prefect.agent.adapters.kubernetes import locations
from prefect.agent.adapters.kubernetes.fields import (
    MAX_NESTING,
    MAX_NODES,
    MAX_TEXT,
    BadTemplate,
    Section,
    kind,
    plain_copy,
)
from prefect.agent.domain.errors import ConfigurationError, PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.run_configs import KubernetesRun, RunConfig
from prefect.agent.domain.model.submissions import Submission

BUILT_IN: Final[Mapping[str, Any]] = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "spec": {"template": {"spec": {"containers": [{"name": "flow"}]}}},
}

BUDGET: Final = plain_yaml.Budget(bytes=locations.MAX_BYTES, values=MAX_NODES, depth=MAX_NESTING, text=MAX_TEXT)
"""What a template may cost to parse."""

Fetch = Callable[[str], bytes]
"""Reads what is at a path. Raises BadTemplate if it cannot, PlatformUnavailable if it may be able to later."""


def of_run(config: RunConfig, *, fetch: Fetch = locations.read) -> dict[str, Any] | None:
    """The template that a flow run brings along, read anew for each run; None if it brings none.

    Raises:
        SubmissionRefused: It cannot be used; the message says why and where it came from.
        PlatformUnavailable: The place where it is has trouble that passes.
    """
    if not isinstance(config, KubernetesRun):
        return None
    try:
        if config.job_template:
            return checked(config.job_template)
        return load(config.job_template_path, fetch=fetch, quotes=False) if config.job_template_path else None
    except BadTemplate as problem:
        source = "job_template" if config.job_template else "job_template_path"
        raise SubmissionRefused(f"the run config's {source} cannot be used: {problem}") from problem


MOST_FETCHED: Final = 64
"""Templates that are kept for units to be created; each may have a MiB."""

MOST_JUDGED: Final = 4096
"""Digests of templates that are kept likewise."""


def is_elsewhere(config: RunConfig) -> bool:
    """Whether the run config names a place where its template is."""
    return isinstance(config, KubernetesRun) and not config.job_template and bool(config.job_template_path)


def _digest(template: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode(errors="surrogatepass")).hexdigest()


class TemplatesOfRuns:
    """Fetches templates from where they are before their units are created. Safe to use from several threads."""

    def __init__(self, *, fetch: Fetch = locations.read) -> None:
        self._fetch = fetch
        self._guard = threading.Lock()
        self._fetched: dict[str, dict[str, Any]] = {}
        self._judged: dict[str, str] = {}

    def fetch(self, submission: Submission) -> None:
        """Fetch the template of *submission*, if it is somewhere else. Errors of :func:`of_run`."""
        if not is_elsewhere(submission.run_config) or self._is_judged(submission.name):
            return
        found = of_run(submission.run_config, fetch=self._fetch)
        if found is not None:
            with self._guard:
                self._fetched[submission.name] = found
                while len(self._fetched) > MOST_FETCHED:
                    del self._fetched[next(iter(self._fetched))]

    def of(self, submission: Submission) -> dict[str, Any] | None:
        """The template of *submission*, fetched now if it was not. As :func:`of_run`.

        Raises:
            PlatformUnavailable: It is no longer the one that was judged.
        """
        with self._guard:
            found, judged = self._fetched.get(submission.name), self._judged.get(submission.name)
        found = of_run(submission.run_config, fetch=self._fetch) if found is None else found
        if judged is not None and found is not None and judged != _digest(found):
            with self._guard:
                self._judged.pop(submission.name, None)
            raise PlatformUnavailable("the job template has changed since it was looked at; it is looked at again")
        return found

    def judged(self, submission: Submission) -> dict[str, Any] | None:
        """The template of *submission*, read anew; a unit is made of this one only. Errors of :func:`of_run`."""
        self.forget(submission)
        self.fetch(submission)
        found = self.of(submission)
        if found is not None and is_elsewhere(submission.run_config):
            with self._guard:
                self._judged[submission.name] = _digest(found)
                while len(self._judged) > MOST_JUDGED:
                    del self._judged[next(iter(self._judged))]
        return found

    def _is_judged(self, name: str) -> bool:
        with self._guard:
            return name in self._judged and name in self._fetched

    def forget(self, submission: Submission) -> None:
        """Its unit is there."""
        with self._guard:
            self._fetched.pop(submission.name, None)
            self._judged.pop(submission.name, None)


def of_agent(path: str | None, *, fetch: Fetch = locations.read) -> dict[str, Any]:
    """The agent's own template, read once at start; without a *path* the built-in one.

    Raises:
        ConfigurationError: It cannot be used; the message says why.
        PlatformUnavailable: The place where it is has trouble that passes.
    """
    if not path:
        return checked(BUILT_IN)
    try:
        return load(path, fetch=fetch)
    except BadTemplate as problem:
        raise ConfigurationError(f"the agent's job template path cannot be used: {problem}") from problem


def load(path: str, *, fetch: Fetch = locations.read, quotes: bool = True) -> dict[str, Any]:
    """The Job template at *path*: a file, or an address of one of :data:`locations.SCHEMES`.

    Args:
        quotes: Whether errors may name keys of it.

    Raises:
        BadTemplate: There is none, or it makes no sense; the message names the path.
        PlatformUnavailable: The place where it is has trouble that passes.
    """
    try:
        return parsed(fetch(path), quotes=quotes)
    except BadTemplate as problem:
        raise BadTemplate(f"{locations.shown(path)}: {problem}") from problem


def parsed(text: bytes, *, quotes: bool = True) -> dict[str, Any]:
    """The Job template that *text* is as YAML.

    Raises:
        BadTemplate: It is none.
    """
    try:
        return checked(plain_yaml.load(text, BUDGET), quotes=quotes)
    except plain_yaml.NotPlainYaml as problem:
        raise BadTemplate(f"it {problem}") from None


def checked(template: object, *, quotes: bool = True) -> dict[str, Any]:
    """A copy of *template*, of which it is certain that it is a Job and of a sensible size.

    Raises:
        BadTemplate: It is not; the message names the field.
    """
    copy = plain_copy(template, quotes=quotes)
    if not isinstance(copy, dict):
        raise BadTemplate(f"it is {kind(copy)}, not the mapping of a Job")
    for key, expected in (("kind", "Job"), ("apiVersion", "batch/v1")):
        if copy.get(key) not in (None, expected):  # a set would choke on what cannot be hashed
            raise BadTemplate(f"the job template's {key} must be {expected}")
    Section(copy).peek("spec").peek("template").peek("spec")
    return copy
