"""The options of the process agent, as data."""

from typing import Final

from prefect.agent.ports.platform_options import PlatformOption

OPTIONS: Final = (
    PlatformOption(
        name="show_flow_logs",
        flags=("--show-flow-logs", "-f"),
        kind="flag",
        help="Show the output of flow runs in the agent's output.",
    ),
    PlatformOption(
        name="interpreter",
        flags=("--interpreter",),
        placeholder="PATH",
        variable="PREFECT_AGENT_INTERPRETER",
        help="Python interpreter that has Prefect installed. Default: PREFECT_AGENT_INTERPRETER, else the one of the "
        "prefect command on PATH.",
    ),
    PlatformOption(
        name="import_paths",
        flags=("--import-path", "-p"),
        placeholder="PATH",
        repeatable=True,
        help="Add this folder to the PYTHONPATH of flow runs. Repeatable. Default: none.",
    ),
    PlatformOption(
        name="output_limit",
        flags=("--output-limit",),
        placeholder="MIB",
        kind="whole",
        variable="PREFECT_AGENT_OUTPUT_LIMIT",
        least=0,
        most=10**9,
        help="Keep only the last MIB mebibytes of each flow run's output; 0 keeps all of it. Default: "
        "PREFECT_AGENT_OUTPUT_LIMIT, else 100.",
    ),
    PlatformOption(
        name="hostname_label",
        flags=("--hostname-label/--no-hostname-label",),
        kind="flag",
        default=True,
        help="Add this machine's name to the agent's labels. Default: add it.",
    ),
)
