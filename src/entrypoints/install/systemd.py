"""The systemd unit, which starts the agent with access to only those parts of the machine that it needs."""

from typing import Final

import attrs

from prefect.agent.entrypoints.install.command_line import AgentCommand, systemd_words
from prefect.agent.entrypoints.install.plan import DRAIN
from prefect.agent.entrypoints.runtime.exits import ExitCode

NAME: Final = "prefect-agent"
KEY_FILE: Final = "/etc/prefect-agent/api-key"
ENV_FILE: Final = "/etc/prefect-agent.env"
CREDENTIAL: Final = "api-key"

WATCHDOG: Final = 600
"""Seconds without a watchdog message before systemd restarts the agent; as long as the Kubernetes probe waits."""

_NO_RESTART: Final = (ExitCode.USAGE, ExitCode.NO_PERMISSION, ExitCode.CONFIGURATION)

_UNIT: Final = """\
# {NAME}.service: the Prefect agent{about}.
# This file does not hold the API key: {about_key}
[Unit]
Description=Prefect agent
Documentation=man:systemd.service(5)
Wants=network-online.target
After=network-online.target{after}
# Restart without a limit: an outage of Prefect ends at some time.
StartLimitIntervalSec=0

[Service]
# The agent reports ready after the first successful poll, and watchdog messages while polls succeed.
Type=notify
NotifyAccess=main
ExecStart={command}
{credential}# More variables for the agent, if any.
EnvironmentFile=-{ENV_FILE}
Environment=HOME=%S/{NAME}
WorkingDirectory=%S/{NAME}
TimeoutStartSec=120
WatchdogSec={watchdog}
Restart=on-failure
RestartSec=10
# A restart does not help with wrong usage, a refused key or a wrong configuration.
RestartPreventExitStatus={no_restart}
# On SIGTERM the agent finishes creating units and sends its last reports. Flow runs continue.
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
# A user that exists only while the service runs. A user of the Docker engine has the rights of root on this machine.
DynamicUser=yes
SupplementaryGroups=docker"""

_OWN_USER: Final = """\
# {why}
User={user}"""


@attrs.frozen(kw_only=True)
class SystemdUnit:
    """The decisions of a person about the unit.

    Attributes:
        user: A user of this machine; None lets systemd create one, which a process agent cannot use.
        key_file: File with the API key; None if the API requires no key.
    """

    started: AgentCommand
    user: str | None = None
    key_file: str | None = KEY_FILE


def unit(decided: SystemdUnit) -> str:
    """Return the text of the unit file."""
    docker = decided.started.platform == "docker"
    command = decided.started.arguments()
    return _UNIT.format(
        NAME=NAME,
        ENV_FILE=ENV_FILE,
        about=" that runs flows as Docker containers" if docker else " that runs flows as processes of this machine",
        after=" docker.service" if docker else "",
        command=systemd_words(command),
        about_key=_about_key(decided.key_file),
        credential=_credential(decided.key_file),
        watchdog=WATCHDOG,
        no_restart=" ".join(str(int(code)) for code in _NO_RESTART),
        killing=_killing(docker=docker),
        drain=DRAIN,
        user=_user(decided, docker=docker),
        # These rules hold for the flow runs of a process agent, too: they may need a GPU or list network interfaces.
        devices="PrivateDevices=yes\n" if docker else "",
        netlink="" if docker else " AF_NETLINK",
        home="read-only" if decided.started.is_in_a_home else "yes",
    )


def _about_key(path: str | None) -> str:
    return f"{path} does (owner root, mode 0600; only the key)." if path else "the API requires none."


def _credential(path: str | None) -> str:
    """Return the lines that let systemd read the key as root, and show it to this service alone, in memory."""
    if path is None:
        return ""
    shown = path.replace("%", "%%")
    return f"LoadCredential={CREDENTIAL}:{shown}\nEnvironment=PREFECT__CLOUD__API_KEY_FILE=%d/{CREDENTIAL}\n"


def _killing(*, docker: bool) -> str:
    if docker:
        return "KillMode=mixed"
    return "# End only the agent, not its flow runs, which are processes of this service, too.\nKillMode=process"


def _user(decided: SystemdUnit, *, docker: bool) -> str:
    if decided.user is None and docker:
        return _DOCKER_USER
    groups = "\nSupplementaryGroups=docker" if docker else ""
    why = "An ordinary user without a password and without special rights."
    if not docker:
        why += (
            " Flow runs are its processes, and continue during a restart.\n"
            "# To let them write outside the state directory: ReadWritePaths=..."
        )
    return _OWN_USER.format(why=why, user=decided.user or NAME) + groups
