"""A configuration file for supervisor (supervisord.org), as ``prefect agent local install`` of 1.x printed it."""

from prefect.agent.entrypoints.install.checks import key as checked_key
from prefect.agent.entrypoints.install.command_line import Started, supervisor_words
from prefect.agent.entrypoints.install.plan import DRAIN

_CONFIGURATION = """\
; supervisord.conf: the Prefect agent. Start it with: supervisord -c supervisord.conf
{about_key}
[unix_http_server]
file=%(here)s/supervisor.sock
chmod=0600

[supervisord]
loglevel=info

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://%(here)s/supervisor.sock

[program:prefect-agent]
command={command}
{environment}; No restart cures wrong usage (2), a key that is not accepted (77), a wrong configuration (78).
autorestart=unexpected
exitcodes=0,2,77,78
; Without this an early end counts as a failed start, and after a few the agent stays down, whatever its exit code.
startsecs=0
redirect_stderr=true
stopsignal=TERM
stopwaitsecs={drain}
; Flow runs of a process agent go on when it stops.
stopasgroup=false
killasgroup=false
"""

_WITH_KEY = "; It holds the API key: only its owner should be able to read it (chmod 600 supervisord.conf)."
_WITHOUT_KEY = "; The API key is not in here: the environment of supervisord has to have PREFECT__CLOUD__API_KEY."


def configuration(started: Started, key: str | None) -> str:
    """The text of ``supervisord.conf``.

    Raises:
        ConfigurationError: The key has characters that cannot be in such a file.
    """
    environment = f'environment=PREFECT__CLOUD__API_KEY="{_quoted(key)}"\n' if key else ""
    return _CONFIGURATION.format(
        about_key=_WITH_KEY if key else _WITHOUT_KEY,
        command=supervisor_words(started.arguments()),
        environment=environment,
        drain=DRAIN,
    )


def _quoted(key: str) -> str:
    return checked_key(key).replace("%", "%%")
