"""A systemd unit that starts the agent with as little of the machine as it needs."""

from typing import Final

import attrs

from prefect.agent.entrypoints.install.command_line import Started, systemd_words
from prefect.agent.entrypoints.install.plan import DRAIN
from prefect.agent.entrypoints.runtime.exits import ExitCode

NAME: Final = "prefect-agent"
KEY_FILE: Final = "/etc/prefect-agent/api-key"
ENV_FILE: Final = "/etc/prefect-agent.env"
CREDENTIAL: Final = "api-key"

WATCHDOG: Final = 600
"""Seconds without a sign of life. As long as the Kubernetes probe waits: no restart cures an outage of Prefect."""

_NO_RESTART: Final = (ExitCode.USAGE, ExitCode.NO_PERMISSION, ExitCode.CONFIGURATION)

_UNIT: Final = """\
# {NAME}.service: the Prefect agent{about}.
# The API key is not in here: {about_key}
[Unit]
Description=Prefect agent
Documentation=man:systemd.service(5)
Wants=network-online.target
After=network-online.target{after}
# Restarts go on for ever: an outage of Prefect ends some time.
StartLimitIntervalSec=0

[Service]
# Ready after the first good poll; then a sign of life as long as polls go well.
Type=notify
NotifyAccess=main
ExecStart={command}
{credential}# More variables for the agent, if there are any.
EnvironmentFile=-{ENV_FILE}
Environment=HOME=%S/{NAME}
WorkingDirectory=%S/{NAME}
TimeoutStartSec=120
WatchdogSec={watchdog}
Restart=on-failure
RestartSec=10
# Wrong usage, a key that is not accepted, a wrong configuration: no restart cures these.
RestartPreventExitStatus={no_restart}
# SIGTERM finishes what is in hand and sends the last reports. Flow runs go on.
{killing}
TimeoutStopSec={drain}

{user}
StateDirectory={NAME}
StateDirectoryMode=0700
UMask=0077

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
{devices}PrivateTmp=yes
ProtectSystem=strict
ProtectHome={home}
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX{netlink}
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""

_DOCKER_USER: Final = """\
# A user that exists while the service runs. Whoever may use the Docker engine is as good as root on this machine.
DynamicUser=yes
SupplementaryGroups=docker"""

_OWN_USER: Final = """\
# {why}
User={user}"""


@attrs.frozen(kw_only=True)
class SystemdUnit:
    """What a person decided.

    Attributes:
        user: A user of this machine; None: one that systemd makes up, which only an agent without processes can have.
        key_file: File with the API key; None: the API asks for none.
    """

    started: Started
    user: str | None = None
    key_file: str | None = KEY_FILE


def unit(decided: SystemdUnit) -> str:
    """The text of the unit file."""
    docker = decided.started.platform == "docker"
    command = decided.started.arguments()
    return _UNIT.format(
        NAME=NAME,
        ENV_FILE=ENV_FILE,
        about=": flow runs become Docker containers" if docker else ": flow runs become processes of this machine",
        after=" docker.service" if docker else "",
        command=systemd_words(command),
        about_key=_about_key(decided.key_file),
        credential=_credential(decided.key_file),
        watchdog=WATCHDOG,
        no_restart=" ".join(str(int(code)) for code in _NO_RESTART),
        killing=_killing(docker=docker),
        drain=DRAIN,
        user=_user(decided, docker=docker),
        # Flow runs of a process agent live under the same rules: they may need a GPU, and ask for network interfaces.
        devices="PrivateDevices=yes\n" if docker else "",
        netlink="" if docker else " AF_NETLINK",
        home="read-only" if decided.started.is_in_a_home else "yes",
    )


def _about_key(path: str | None) -> str:
    return f"it is in {path} (owner root, mode 0600), alone." if path else "the API asks for none."


def _credential(path: str | None) -> str:
    """Systemd reads the key as root and shows it to this service alone, in a file that is in memory only."""
    if path is None:
        return ""
    shown = path.replace("%", "%%")
    return f"LoadCredential={CREDENTIAL}:{shown}\nEnvironment=PREFECT__CLOUD__API_KEY_FILE=%d/{CREDENTIAL}\n"


def _killing(*, docker: bool) -> str:
    if docker:
        return "KillMode=mixed"
    return "# Only the agent is ended, not the flow runs, which are processes of this service too.\nKillMode=process"


def _user(decided: SystemdUnit, *, docker: bool) -> str:
    if decided.user is None and docker:
        return _DOCKER_USER
    groups = "\nSupplementaryGroups=docker" if docker else ""
    why = "An ordinary user without a password and without other rights."
    if not docker:
        why += (
            " Flow runs are its processes and outlive a restart.\n"
            "# What they may write besides the state directory: ReadWritePaths=..."
        )
    return _OWN_USER.format(why=why, user=decided.user or NAME) + groups
