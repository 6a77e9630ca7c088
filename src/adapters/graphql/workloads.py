"""The command and variables of a flow run's process, for the 0.x and 1.x lines."""

import re
from collections.abc import Collection
from typing import Final

from prefect.agent.adapters.graphql.logins import has_login, without_login
from prefect.agent.domain.model.flow_runs import FlowRun
from prefect.agent.domain.model.submissions import Workload

IMAGE: Final = "prefecthq/prefect"
API_VARIABLE: Final = "PREFECT__CLOUD__API"
LOGS_VARIABLE: Final = "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS"

_SECRETS: Final = (
    "PREFECT__CLOUD__API_KEY",
    "PREFECT__CLOUD__AUTH_TOKEN",
    "PREFECT__CLOUD__AGENT__API_KEY",
    "PREFECT__CLOUD__AGENT__AUTH_TOKEN",
    "PREFECT_API_KEY",
)

KEPT: Final = frozenset(
    {
        API_VARIABLE,
        "PREFECT__CLOUD__ENDPOINT",
        "PREFECT__CLOUD__GRAPHQL",
        "PREFECT__SERVER__ENDPOINT",
        "PREFECT_API_URL",
        *_SECRETS,
        *(f"{name}_FILE" for name in _SECRETS),
    }
)
"""Variables that say where the Cloud is and with which key it is asked, of all eras: no run config may set them."""


def workload(
    run: FlowRun,
    *,
    url: str,
    backend: str,
    key: str | None,
    tenant_id: str | None,
    labels: Collection[str],
    log_level: str,
    send_logs: bool,
) -> Workload:
    """Return the workload of *run*."""
    version = _version(run.flow.core_version)
    logs = str(send_logs).lower()
    defaults = {API_VARIABLE: url, "PREFECT__LOGGING__LEVEL": log_level, LOGS_VARIABLE: logs}
    fixed = {
        "PREFECT__BACKEND": backend,
        "PREFECT__CLOUD__AGENT__LABELS": repr(list(labels)),
        "PREFECT__CONTEXT__FLOW_RUN_ID": run.id,
        "PREFECT__CONTEXT__FLOW_ID": run.flow.id,
        "PREFECT__CLOUD__USE_LOCAL_SECRETS": "false",
        "PREFECT__ENGINE__FLOW_RUNNER__DEFAULT_CLASS": "prefect.engine.cloud.CloudFlowRunner",
        "PREFECT__LOGGING__LOG_TO_CLOUD": logs,
    }
    if version is not None and version <= (1, 2, 2):
        fixed["PREFECT__ENGINE__TASK_RUNNER__DEFAULT_CLASS"] = "prefect.engine.cloud.CloudTaskRunner"
    if not send_logs:
        fixed[LOGS_VARIABLE] = defaults.pop(LOGS_VARIABLE)  # a run may switch its logs off, never on
    if tenant_id and key:
        fixed["PREFECT__CLOUD__TENANT_ID"] = tenant_id
    secrets = {"PREFECT__CLOUD__API_KEY": key, "PREFECT__CLOUD__AUTH_TOKEN": key} if key else {}
    if key:
        defaults[API_VARIABLE] = without_login(url)  # as the agent does: with a key, a login is not used
    elif has_login(url):
        secrets = {API_VARIABLE: defaults.pop(API_VARIABLE)}
    old = version is None or version < (0, 13, 0)
    return Workload(
        command=("prefect", "execute", "cloud-flow" if old else "flow-run"),
        default_image=f"{IMAGE}:{_tag(run.flow.core_version)}",
        defaults=defaults,
        fixed=fixed,
        secrets=secrets,
        image_variable="PREFECT__CONTEXT__IMAGE",
        address_variables=frozenset({API_VARIABLE}),
        kept=KEPT,
    )


def _version(text: str | None) -> tuple[int, ...] | None:
    match = re.match(r"(\d+)\.(\d+)\.(\d+)", text or "")
    return tuple(int(part) for part in match.groups()) if match else None


def _tag(core_version: str | None) -> str:
    """Return a tag that can be part of an image name; any other version counts as unknown."""
    tag = (core_version or "").partition("+")[0]
    return tag if re.fullmatch(r"\w[\w.-]{0,127}", tag) else "latest"
