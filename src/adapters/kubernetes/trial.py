"""Tests by a dry run (``dryRun=All``) whether the cluster accepts the agent's Jobs, and has room for them again."""

import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.adapters.kubernetes import manifest
from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.adapters.kubernetes.jobs import Jobs
from prefect.agent.adapters.kubernetes.manifest import JobDefaults
from prefect.agent.domain.errors import ConfigurationError, CreateBlocked, PlatformError, SubmissionRefused

_INVALID: Final = frozenset({400, 422})
"""Status codes for a Job that no cluster would accept."""

_SAID_BY_OTHERS: Final = ("denied", "webhook", "dryRun", "dry run")
"""Texts in refusals by webhooks and by the cluster's policies, which may only concern the trial's image."""

log: Final = logging.getLogger("prefect.agent.kubernetes")


class Trial:
    """Tests a Job of the agent's own template once, and again while :attr:`is_blocked`.

    Attributes:
        is_blocked: Whether the cluster did not accept the last Job.
    """

    def __init__(self, jobs: Jobs, template: Mapping[str, Any], defaults: JobDefaults) -> None:
        self._jobs, self._template, self._defaults = jobs, template, defaults
        self._is_tried = self.is_blocked = False
        self._name = f"prefect-trial-{uuid.uuid4().hex[:8]}"  # one for all trials: the log folds messages that agree

    def __call__(self) -> None:
        """Test the Job if necessary.

        Raises:
            ConfigurationError: No flow run can use the agent's settings.
            CreateBlocked: The cluster still accepts no Jobs.
            PlatformUnavailable: The cluster does not answer.
        """
        if self.is_blocked:
            self._look_for_room()
        elif not self._is_tried:
            self._is_tried = True
            self._look_at_settings()

    def _look_for_room(self) -> None:
        try:
            self.dry_run()
        except SubmissionRefused as refusal:
            log.debug("A trial Job is refused: %s", refusal)
        self.is_blocked = False

    def _look_at_settings(self) -> None:
        try:
            self.dry_run()
        except SubmissionRefused as refusal:
            if not is_about_settings(refusal):
                log.warning("A Job as the agent's settings make it may be refused: %s", refusal)
                return
            raise ConfigurationError(f"no flow run can use the agent's settings for Jobs: {refusal}") from refusal
        except CreateBlocked as blocked:
            log.warning("Flow runs will have to wait: %s", blocked)
        except PlatformError as problem:
            log.debug("Could not test a Job by a dry run: %s", problem)

    def dry_run(self) -> None:
        """Let the API server judge a Job of the agent's settings without making it.

        Raises:
            SubmissionRefused: It would be refused; the cause is the server's answer, if it was the server that refused.
            CreateBlocked: The cluster makes no Jobs at present.
            PlatformError: The server does not say, or the agent may make no Jobs.
        """
        self._jobs.make(manifest.trial(self._name, self._template, defaults=self._defaults), dry_run=True)


def is_about_settings(refusal: SubmissionRefused) -> bool:
    """Whether the API server itself calls a trial Job impossible; policies and webhooks may refuse the trial alone."""
    cause = refusal.__cause__
    is_impossible = isinstance(cause, StatusError) and cause.code in _INVALID
    return is_impossible and not any(word in str(refusal) for word in _SAID_BY_OTHERS)
