"""A Job that is tried out without being made (``dryRun=All``): do the agent's settings fit, is there room again?"""

import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final

from prefect.agent.adapters.kubernetes import manifest
from prefect.agent.adapters.kubernetes.errors import StatusError
from prefect.agent.adapters.kubernetes.jobs import Jobs
from prefect.agent.adapters.kubernetes.manifest import JobDefaults
from prefect.agent.domain.errors import ConfigurationError, CreateBlocked, PlatformError, SubmissionRefused

_MAKES_NO_SENSE: Final = frozenset({400, 422})
"""What the API server answers to a Job that no cluster would take."""

_SAID_BY_OTHERS: Final = ("denied", "webhook", "dryRun", "dry run")
"""Words of refusals by the cluster's policies, which may be about the trial's image, and of those by webhooks."""

log: Final = logging.getLogger("prefect.agent.kubernetes")


class Trial:
    """Tries out a Job of the agent's own template: once, and again while :attr:`is_blocked`.

    Attributes:
        is_blocked: Whether the cluster makes no Jobs, by the last one that was wanted.
    """

    def __init__(self, jobs: Jobs, template: Mapping[str, Any], defaults: JobDefaults) -> None:
        self._jobs, self._template, self._defaults = jobs, template, defaults
        self._is_tried = self.is_blocked = False

    def __call__(self) -> None:
        """Try it out, if that is wanted.

        Raises:
            ConfigurationError: No flow run can use the agent's settings.
            CreateBlocked: The cluster still makes no Jobs.
            PlatformUnavailable: It does not say.
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
        except PlatformError as trouble:
            log.debug("Could not try out a Job: %s", trouble)

    def dry_run(self) -> None:
        """Let the API server judge a Job of the agent's settings without making it.

        Raises:
            SubmissionRefused: It would be refused; the cause is the server's answer, if it was the server that refused.
            CreateBlocked: The cluster makes no Jobs at present.
            PlatformError: The server does not say, or the agent may make no Jobs.
        """
        name = f"prefect-trial-{uuid.uuid4().hex[:8]}"
        self._jobs.make(manifest.trial(name, self._template, defaults=self._defaults), dry_run=True)


def is_about_settings(refusal: SubmissionRefused) -> bool:
    """Whether the API server itself calls a trial Job impossible; policies and webhooks may refuse the trial alone."""
    cause = refusal.__cause__
    is_impossible = isinstance(cause, StatusError) and cause.code in _MAKES_NO_SENSE
    return is_impossible and not any(word in str(refusal) for word in _SAID_BY_OTHERS)
