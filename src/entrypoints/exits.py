"""How the process ends: named exit codes, for supervisors that must know whether a restart can help (sysexits.h)."""

import enum

from prefect.agent.domain.errors import (
    AgentError,
    CloudUnavailable,
    ConfigurationError,
    PlatformForbidden,
    PlatformUnavailable,
    Unauthorised,
)


class ExitCode(enum.IntEnum):
    """Exit codes of ``prefect agent``. 2 is click's own for wrong usage."""

    OK = 0
    USAGE = 2
    CLOUD_UNAVAILABLE = 69
    SOFTWARE = 70
    PLATFORM_UNAVAILABLE = 75
    NO_PERMISSION = 77
    CONFIGURATION = 78


class AgentExit(Exception):
    """The agent has to end with *code*; the message is one sentence for the person who started it."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code


def exit_for(trouble: AgentError) -> AgentExit:
    """The way out for an error that start-up cannot get round."""
    codes: tuple[tuple[type[AgentError], ExitCode], ...] = (
        (Unauthorised, ExitCode.NO_PERMISSION),
        (PlatformForbidden, ExitCode.NO_PERMISSION),
        (ConfigurationError, ExitCode.CONFIGURATION),
        (CloudUnavailable, ExitCode.CLOUD_UNAVAILABLE),
        (PlatformUnavailable, ExitCode.PLATFORM_UNAVAILABLE),
    )
    code = next((code for kind, code in codes if isinstance(trouble, kind)), ExitCode.SOFTWARE)
    return AgentExit(code, str(trouble))
