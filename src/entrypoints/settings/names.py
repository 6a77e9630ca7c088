"""All settings of the agent with name, kind and use; and a check for unknown names that look like one. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import attrs

from prefect.agent.domain.texts import nearest

PREFIX: Final = "PREFECT__"
"""Prefix of all environment variables of the 1.x line."""

OWN: Final = "PREFECT_AGENT_"
"""Prefix of the variables that only this product has."""

OWN_TABLE: Final = "agent"
"""Table of a file whose keys are these variables, without the prefix and in small letters."""

Kind = Literal["text", "address", "secret", "list", "variables", "flag", "level", "number", "path", "uuid"]


@attrs.frozen
class Setting:
    """One setting.

    Attributes:
        name: Its dotted name in ``config.toml``, or the name of a variable that only this product has.
        kind: The kind of its value.
        used: What the setting is for.
        default: The value that references to it get if it is not set, as in 1.x; None if it has none.
        option: The option of ``prefect agent start`` that wins over it; empty if there is none.
        in_file: Whether a file can set it; some say which files are read, or are looked at by other processes.
    """

    name: str
    kind: Kind
    used: str
    default: str | None = None
    option: str = ""
    in_file: bool = True

    @property
    def key(self) -> str:
        """Its dotted name in a file: for a variable that only this product has, a name in the table ``[agent]``."""
        return f"{OWN_TABLE}.{self.name.removeprefix(OWN).lower()}" if self.name.isupper() else self.name

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return variable_of(self.name)


def variable_of(name: str) -> str:
    """Return the environment variable of a setting with a dotted name; return the name of a variable unchanged."""
    return name if name.isupper() else PREFIX + name.upper().replace(".", "__")


FLOW_RUN_KEY: Final = "PREFECT_AGENT_FLOW_RUN_KEY"
"""Variable with the API key of flow runs; with the suffix ``_FILE`` it names a file that holds the key."""

KEY_SETTINGS: Final = ("cloud.api_key", "cloud.agent.auth_token", "cloud.auth_token")
"""Settings that may hold an API key or token; the first one that is set wins."""

SETTINGS: Final = (
    Setting("backend", "text", "which backend the API is", "cloud"),
    Setting("home_dir", "path", "where the files of 1.x are", "~/.prefect", in_file=False),
    Setting("user_config_path", "path", "config.toml", in_file=False),
    Setting("backend_config_path", "path", "backend.toml", in_file=False),
    Setting("cloud.api", "address", "the API", "${${backend}.endpoint}", option="--api"),
    Setting("cloud.endpoint", "address", "the API of Prefect Cloud", "https://api.prefect.io"),
    Setting("cloud.tenant_id", "uuid", "the tenant", option="--tenant-id"),
    *(
        each
        for name in KEY_SETTINGS
        for each in (
            Setting(name, "secret", "the API key", option="--token"),
            Setting(f"{name}_file", "path", "a file with the API key", option="--token-file"),
        )
    ),
    Setting("cloud.send_flow_run_logs", "flag", "whether flow runs send their logs", option="--no-cloud-logs"),
    Setting("cloud.agent.name", "text", "the agent's name", "agent", option="--name"),
    Setting("cloud.agent.labels", "list", "the agent's labels", option="--label"),
    Setting("cloud.agent.env_vars", "variables", "variables of every flow run", option="--env"),
    Setting("cloud.agent.level", "level", "the agent's log", "INFO", option="--log-level"),
    Setting("cloud.agent.agent_address", "address", "where health is served", option="--agent-address"),
    Setting("cloud.agent.resource_manager.loop_interval", "number", "nothing; manifests of 1.x set it"),
    Setting("logging.level", "level", "the flow runs' logs", "INFO"),
    Setting("server.host", "address", "the API of a Server", "http://localhost"),
    Setting("server.port", "number", "the API of a Server", "4200"),
    Setting("server.host_port", "number", "references to it", "4200"),
    Setting("server.endpoint", "address", "the API of a Server", "${server.host}:${server.port}"),
    Setting(FLOW_RUN_KEY, "secret", "the API key of flow runs", option="--flow-run-key"),
    Setting(f"{FLOW_RUN_KEY}_FILE", "path", "a file with the API key of flow runs", option="--flow-run-key-file"),
    Setting("PREFECT_AGENT_LIMIT", "number", "units alive at once", option="--limit"),
    Setting("PREFECT_AGENT_MAX_LATENESS", "number", "seconds late that a flow run may start", option="--max-lateness"),
    Setting("PREFECT_AGENT_START_PATIENCE", "number", "seconds to wait at start", option="--start-patience"),
    Setting("PREFECT_AGENT_AUTH_PATIENCE", "number", "seconds of refusals of the key", option="--auth-patience"),
    Setting("PREFECT_AGENT_STALL_PATIENCE", "number", "seconds of a loop that stands still"),
    Setting("PREFECT_AGENT_POLL_INTERVAL", "number", "seconds between polls, at most", option="--poll-interval"),
    Setting("PREFECT_AGENT_DRAIN_TIMEOUT", "number", "seconds for calls at the end", option="--drain-timeout"),
    Setting("PREFECT_AGENT_STOP_PATIENCE", "number", "the earlier name of PREFECT_AGENT_DRAIN_TIMEOUT"),
    Setting("PREFECT_AGENT_CONFIG", "path", "a file in place of those of 1.x", option="--config", in_file=False),
    Setting("PREFECT_AGENT_STRICT", "flag", "whether doubtful settings are errors", option="--strict"),
    Setting("PREFECT_AGENT_STATE_DIRECTORY", "path", "reports that are not confirmed", option="--state-directory"),
    Setting("PREFECT_AGENT_RUNTIME_DIRECTORY", "path", "sockets of running agents", in_file=False),
    Setting("PREFECT_AGENT_POLICY", "text", "what flow runs may ask for", option="--policy"),
    Setting("PREFECT_AGENT_TEMPLATE_PATHS", "list", "places of job templates", option="--template-path"),
    Setting("PREFECT_AGENT_REG_ALLOW_LIST", "list", "registries of the Docker agent", option="--reg-allow-list"),
    Setting("PREFECT_AGENT_INTERPRETER", "path", "the Python of the process agent", option="--interpreter"),
    Setting(
        "PREFECT_AGENT_OUTPUT_LIMIT", "number", "MiB that the output of a process may take", option="--output-limit"
    ),
    Setting("PREFECT_AGENT_API_KEY_SECRET", "text", "the Secret of the Kubernetes agent", option="--api-key-secret"),
    Setting("PREFECT_AGENT_JOB_SECURITY", "text", "the Jobs' pod security", option="--job-security"),
    Setting("PREFECT_AGENT_CLUSTER_WIDE", "flag", "other namespaces", option="--cluster-wide"),
    Setting("PREFECT_AGENT_WITHOUT", "list", "features that the Kubernetes agent does without", option="--without"),
)
"""All settings."""

ALTERNATIVES: Final = {
    **dict.fromkeys((each for name in KEY_SETTINGS for each in (name, f"{name}_file")), KEY_SETTINGS[0]),
    f"{FLOW_RUN_KEY}_FILE": FLOW_RUN_KEY,
    "PREFECT_AGENT_STOP_PATIENCE": "PREFECT_AGENT_DRAIN_TIMEOUT",
}
"""By setting that says the same as another one: that other one. Of several that are set the first in the table wins."""

DEFAULTS: Final = {setting.name: setting.default for setting in SETTINGS if setting.default is not None}
"""The values that references to settings get if these are not set, as in 1.x."""

ADDRESSES: Final = tuple(setting.name for setting in SETTINGS if setting.kind == "address")
"""Settings whose values may contain a password."""

_VARIABLES: Final = frozenset(setting.variable for setting in SETTINGS)
_LOOKED_AT: Final = (f"{PREFIX}CLOUD__AGENT__", "PREFECT_AGENT_")
_TABLES: Final = (f"{PREFIX}CLOUD__AGENT__ENV_VARS__",)
_OF_OTHERS: Final = re.compile(
    r"PREFECT_AGENT_(UNIT|ABOUT|TEST_.*|(.*_)?SERVICE_HOST|(.*_)?SERVICE_PORT(_.*)?|(.*_)?PORT(_[0-9]+_(TCP|UDP|SCTP).*)?)"
)
"""Variables that the agent sets for its units, that this project's tests use, or that Kubernetes adds for a Service."""


def unknown_settings(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each variable that looks like a setting of the agent but is none; never show its value."""
    for name in sorted(environ):
        upper = name.upper()
        if not upper.startswith(_LOOKED_AT) or _is_known(name, upper) or not environ[name].strip():
            continue
        yield unknown(name, "".join(nearest(upper, sorted(_VARIABLES), least=0.75)))


def unknown(name: str, meant: str) -> str:
    """Return the sentence about a *name* that is no setting; *meant* is the one that may be meant, or empty."""
    return f"{name} is not a setting of the agent: " + (f"do you mean {meant}?" if meant else "it has no effect")


def _is_known(name: str, upper: str) -> bool:
    if name.startswith(PREFIX):
        return upper in _VARIABLES or upper.startswith(_TABLES)
    return name in _VARIABLES or _OF_OTHERS.fullmatch(name) is not None
