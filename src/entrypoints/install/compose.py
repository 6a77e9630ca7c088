"""A Compose file (compose-spec.io) that runs the agent in a container beside the flow runs' containers."""

from typing import Final

from prefect.agent.entrypoints.install.command_line import AgentCommand
from prefect.agent.entrypoints.install.plan import DRAIN, HEALTH_PORT, USER
from prefect.agent.entrypoints.install.yaml_text import dump, remarked

SOCKET: Final = "/var/run/docker.sock"
KEY_FILE: Final = "prefect-agent.env"

_HEAD: Final = f"""\
# compose.yaml: a Prefect agent that runs flows as containers. Start it with: docker compose up --detach
# This file does not hold the API key. Put it into {KEY_FILE} (mode 0600), as a line PREFECT__CLOUD__API_KEY=...
"""

_CHECK: Final = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{HEALTH_PORT}/api/health', timeout=5)"

_REMARKS: Final = {
    "init:": "The container's first process reaps orphaned processes.",
    "group_add:": f"The group that owns the socket: DOCKER_GID=$(stat -c %g {SOCKET}).\n"
    "A user of the Docker engine has the rights of root on this machine.",
    "healthcheck:": "Unhealthy after a minute without a successful poll. The port is not published.",
    "stop_grace_period:": "The agent finishes creating containers and sends its last reports, usually in a second.",
}


def compose_file(started: AgentCommand, image: str, *, key_needed: bool = True) -> str:
    """Return the text of ``compose.yaml``."""
    arguments = started.arguments()[1:]
    service = {
        "image": image,
        "command": [_literal(word) for word in (*arguments, "--agent-address", f"http://127.0.0.1:{HEALTH_PORT}")],
        **({"env_file": [KEY_FILE]} if key_needed or started.has_secret_address else {}),
        "environment": {"HOME": "/tmp"},  # noqa: S108 - a file system of the container's own
        "volumes": [f"{SOCKET}:{SOCKET}"],
        "user": f"{USER}:{USER}",
        "group_add": ["${DOCKER_GID:?set it to the group of the Docker socket}"],
        "extra_hosts": ["host.docker.internal:host-gateway"],
        "init": True,
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "restart": "unless-stopped",
        "stop_grace_period": f"{DRAIN}s",
        "healthcheck": {"test": ["CMD", "python", "-c", _CHECK], "interval": "30s", "timeout": "10s", "retries": 3},
    }
    head = _HEAD if key_needed else _HEAD.splitlines(keepends=True)[0]
    return head + remarked(dump({"services": {"prefect-agent": service}}), _REMARKS)


def _literal(text: str) -> str:
    """Double each dollar, since Compose replaces ``$NAME`` by a variable and reads ``$$`` as one dollar."""
    return text.replace("$", "$$")
