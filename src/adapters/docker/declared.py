"""The options of the Docker agent, as data. Reading them imports nothing of Docker."""

from typing import Final

from prefect.agent.ports.platform_options import PlatformOption

OPTIONS: Final = (
    PlatformOption(
        name="base_url",
        flags=("--base-url", "-b"),
        placeholder="URL",
        help="Address of the Docker engine. Default: DOCKER_HOST, else the engine's local socket.",
    ),
    PlatformOption(
        name="no_pull",
        flags=("--no-pull",),
        kind="flag",
        help="Never pull images: use those that the engine has.",
    ),
    PlatformOption(
        name="volumes",
        flags=("--volume",),
        placeholder="SPEC",
        repeatable=True,
        help="Mount this volume in flow runs; written as for docker run. Repeatable. Default: none.",
    ),
    PlatformOption(
        name="reg_allow_list",
        flags=("--reg-allow-list",),
        placeholder="REGISTRY",
        variable="PREFECT_AGENT_REG_ALLOW_LIST",
        repeatable=True,
        help="Use only images from this registry. Repeatable. Default: PREFECT_AGENT_REG_ALLOW_LIST, else all.",
    ),
    PlatformOption(
        name="networks",
        flags=("--network",),
        placeholder="NAME",
        repeatable=True,
        help="Connect flow runs to this network. Repeatable. Default: the engine's default network.",
    ),
    PlatformOption(
        name="docker_client_timeout",
        flags=("--docker-client-timeout",),
        placeholder="S",
        kind="whole",
        least=1,
        help="Wait up to S seconds for each answer of the Docker engine. Default: 60.",
    ),
    PlatformOption(
        name="show_flow_logs",
        flags=("--show-flow-logs", "-f"),
        kind="flag",
        help="Show the output of flow runs in the agent's output.",
    ),
)
