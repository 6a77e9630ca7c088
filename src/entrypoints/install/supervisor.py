"""The configuration file for supervisor (supervisord.org), which ``prefect agent local install`` of 1.x printed."""

from prefect.agent.entrypoints.install.checks import key as checked_key
from prefect.agent.entrypoints.install.command_line import AgentCommand, supervisor_words
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
{environment}; A restart does not help with wrong usage (2), a refused key (77) or a wrong configuration (78).
autorestart=unexpected
exitcodes=0,2,77,78
; With another value, supervisor counts an early exit as a failed start, and gives up after a few, whatever the code.
startsecs=0
redirect_stderr=true
stopsignal=TERM
stopwaitsecs={drain}
; The flow runs of a process agent continue when the agent stops.
stopasgroup=false
killasgroup=false
"""

_WITH_KEY = "; This file holds the API key: let only its owner read it (chmod 600 supervisord.conf)."
_WITHOUT_KEY = "; This file does not hold the API key: set PREFECT__CLOUD__API_KEY in the environment of supervisord."


def configuration(started: AgentCommand, key: str | None) -> str:
    """Return the text of ``supervisord.conf``; *key* is the API key to put into it, if any.

    Raises:
        ConfigurationError: The key has characters that such a file cannot hold.
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
