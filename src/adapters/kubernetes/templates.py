"""Loads the Job template: of the run config, at its path, at the agent's path, or built in (protocol section 7.2)."""

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
    TemplateSection,
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
"""Limits for parsing a template."""

Fetch = Callable[[str], bytes]
"""Reads the bytes at a path. Raises BadTemplate if it never can, PlatformUnavailable if it may later."""


def of_run(config: RunConfig, *, fetch: Fetch = locations.read) -> dict[str, Any] | None:
    """Return the template of a run config, read again for each run; None if it has none.

    Raises:
        SubmissionRefused: It cannot be used; the message says why and where it came from.
        PlatformUnavailable: The place where it is cannot be read for now.
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
"""Most templates that are kept until their units are created; each may have a MiB."""

MOST_JUDGED: Final = 4096
"""Most digests of templates that are kept until their units are created."""


def is_elsewhere(config: RunConfig) -> bool:
    """Return whether the run config names a path instead of containing its template."""
    return isinstance(config, KubernetesRun) and not config.job_template and bool(config.job_template_path)


def _digest(template: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode(errors="surrogatepass")).hexdigest()


class TemplatesOfRuns:
    """Fetches templates from their paths before their units are created. Safe to use from several threads."""

    def __init__(self, *, fetch: Fetch = locations.read) -> None:
        self._fetch = fetch
        self._guard = threading.Lock()
        self._fetched: dict[str, dict[str, Any]] = {}
        self._judged: dict[str, str] = {}

    def fetch(self, submission: Submission) -> None:
        """Fetch the template of *submission* if its run config names a path. Raises as :func:`of_run`."""
        if not is_elsewhere(submission.run_config) or self._is_judged(submission.name):
            return
        found = of_run(submission.run_config, fetch=self._fetch)
        if found is not None:
            with self._guard:
                self._fetched[submission.name] = found
                while len(self._fetched) > MOST_FETCHED:
                    del self._fetched[next(iter(self._fetched))]

    def of(self, submission: Submission) -> dict[str, Any] | None:
        """Return the template of *submission*, and fetch it if that was not done. Raises as :func:`of_run`.

        Raises:
            PlatformUnavailable: The template has changed since the policy judged it.
        """
        with self._guard:
            found, judged = self._fetched.get(submission.name), self._judged.get(submission.name)
        found = of_run(submission.run_config, fetch=self._fetch) if found is None else found
        if judged is not None and found is not None and judged != _digest(found):
            with self._guard:
                self._judged.pop(submission.name, None)
            raise PlatformUnavailable("the job template has changed since it was checked; the agent checks it again")
        return found

    def judged(self, submission: Submission) -> dict[str, Any] | None:
        """Fetch the template of *submission* again and return it; its unit must use it. Raises as :func:`of_run`."""
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
        """Forget the template of *submission*, whose unit exists."""
        with self._guard:
            self._fetched.pop(submission.name, None)
            self._judged.pop(submission.name, None)


def of_agent(path: str | None, *, fetch: Fetch = locations.read) -> dict[str, Any]:
    """Return the agent's own template, read once at the start; without a *path*, the built-in one.

    Raises:
        ConfigurationError: The template cannot be used; the message says why.
        PlatformUnavailable: The place where it is cannot be read for now.
    """
    if not path:
        return checked(BUILT_IN)
    try:
        return load(path, fetch=fetch)
    except BadTemplate as problem:
        raise ConfigurationError(f"the agent's job template path cannot be used: {problem}") from problem


def load(path: str, *, fetch: Fetch = locations.read, quotes: bool = True) -> dict[str, Any]:
    """Return the Job template at *path*: a file, or an address with one of :data:`locations.SCHEMES`.

    Args:
        quotes: Whether errors may name keys of the template.

    Raises:
        BadTemplate: There is none, or it is invalid; the message names the path.
        PlatformUnavailable: The place where it is cannot be read for now.
    """
    try:
        return parsed(fetch(path), quotes=quotes)
    except BadTemplate as problem:
        raise BadTemplate(f"{locations.shown(path)}: {problem}") from problem


def parsed(text: bytes, *, quotes: bool = True) -> dict[str, Any]:
    """Return the Job template in the YAML *text*.

    Raises:
        BadTemplate: *text* is not a Job template.
    """
    try:
        return checked(plain_yaml.load(text, BUDGET), quotes=quotes)
    except plain_yaml.NotPlainYaml as problem:
        raise BadTemplate(f"it {problem}") from None


def checked(template: object, *, quotes: bool = True) -> dict[str, Any]:
    """Return a copy of *template*, after a check that it is a Job within the limits.

    Raises:
        BadTemplate: It is not; the message names the field.
    """
    copy = plain_copy(template, quotes=quotes)
    if not isinstance(copy, dict):
        raise BadTemplate(f"it is {kind(copy)}, not the mapping of a Job")
    for key, expected in (("kind", "Job"), ("apiVersion", "batch/v1")):
        if copy.get(key) not in (None, expected):  # a set would choke on what cannot be hashed
            raise BadTemplate(f"the job template's {key} must be {expected}")
    TemplateSection(copy).peek("spec").peek("template").peek("spec")
    return copy
