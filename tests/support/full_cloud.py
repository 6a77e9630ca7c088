"""A Cloud with something of everything that its pages show, and one given text wherever there is room for one."""

import string
from typing import Any, Final

import attrs

from prefect.agent.entrypoints.server.pages.routes import PAGES, SECTIONS
from support.embedded import Embedded, task_run

STATES: Final = ("Running", "Success", "Failed", "Cancelled", "Submitted", "Paused")
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LONG: Final = 4000
"""Characters of a text that has its place in a value of the key-value store, too."""


@attrs.frozen(kw_only=True)
class Filled:
    """What there is, by the names that addresses have in braces.

    Attributes:
        run_id: A flow run that runs and has task runs, a log and artifacts.
        ended_id: One that has failed.
    """

    tenant: str
    project_id: str
    other_project_id: str
    flow_id: str
    older_flow_id: str
    run_id: str
    ended_id: str
    agent_id: str
    flow_limit_id: str
    task_limit_id: str
    key_value_id: str
    secret_id: str

    def page(self, path: str) -> str:
        """The address of a page or a form with *path*, an address with names in braces."""
        several: dict[str, str] = {
            "run_id": self.ended_id if path.endswith("/restart") else self.run_id,
            "project_id": self.project_id,
            "flow_id": self.flow_id,
            "agent_id": self.agent_id,
            "limit_id": self.flow_limit_id,
            "kind": "flow",
            "id": self.secret_id if "secrets" in path else self.key_value_id,
            "key_id": "01a22128-7c50-7b11-8f6c-9f0c2d1f0e11",
        }
        named = [name for _, name, _, _ in string.Formatter().parse(path) if name]
        return f"/{self.tenant}{path.format(**{name: several[name] for name in named})}"

    def pages(self) -> list[str]:
        """Addresses of all pages."""
        return [self.page(page.path) for page in PAGES]

    def actions(self) -> list[str]:
        """Addresses of all forms that change something."""
        return [self.page(action.path) for section in SECTIONS for action in section.actions]

    def streams(self) -> list[str]:
        """Addresses of all answers that go on."""
        return [self.page(stream.path) for section in SECTIONS for stream in section.streams]


def fill(cloud: Embedded, text: str = "harmless", *, tenant: str = "default", labels: tuple[str, ...] = ()) -> Filled:
    """Fill a tenant of a Cloud.

    Args:
        text: Stands wherever there is room for a text.
        labels: Of the flow runs, beside *text*.
    """
    own = _Writer(cloud, text, _tenant(cloud, text, tenant))
    older, flow = own.flow(), own.flow()
    runs = [own.run(flow, state, labels) for state in STATES]
    run = own.run(flow, "Scheduled", labels)
    own.give_life(run)
    project = cloud.row("flow", flow, "project_id")["project_id"]
    other = str(cloud.change("create_project", "id", name=f"other {text}", tenant_id=own.tenant)["id"])
    flows = {"project_id": project, "other_project_id": other, "flow_id": flow, "older_flow_id": older}
    return Filled(tenant=tenant, **flows, run_id=run, ended_id=runs[2], **own.settings())


def _tenant(cloud: Embedded, text: str, slug: str) -> str:
    found = cloud.ask("{ tenant { id slug } }")["tenant"]
    known = {str(row["slug"]): str(row["id"]) for row in found}
    tenant = known.get(slug) or str(cloud.change("create_tenant", "id", name=text, slug=slug)["id"])
    cloud.change("update_tenant_name", "id", tenant_id=tenant, name=text)
    return tenant


@attrs.frozen
class _Writer:
    cloud: Embedded
    text: str
    tenant: str

    def flow(self) -> str:
        """Register the next version of the flow."""
        text = self.text
        where = {"tenant_id": {"_eq": self.tenant}}
        known = self.cloud.ask("query($w: project_bool_exp) { project(where: $w) { id } }", {"w": where})["project"]
        project = (known or [self.cloud.change("create_project", "id", name=text, tenant_id=self.tenant)])[0]["id"]
        clock = {"type": "CronClock", "cron": "0 9 * * *", "labels": [text], "parameter_defaults": {text: text}}
        tasks = [{"slug": f"{number} {text}", "name": text, "tags": [text]} for number in range(2)]
        edge = {"upstream_task": {"slug": tasks[0]["slug"]}, "downstream_task": {"slug": tasks[1]["slug"]}}
        serialized = {
            "name": text,
            "tasks": tasks,
            "edges": [edge],
            "storage": {"type": "Local", text: text},
            "run_config": {"type": "UniversalRun", "labels": [text], "env": {text: text}},
            "parameters": [{"name": text, "required": False, "default": text}],
            "schedule": {"clocks": [clock, {**clock, "cron": text}]},
            "__version__": "1.4.1",
        }
        given: dict[str, Any] = {"project_id": project, "serialized_flow": serialized, "set_schedule_active": False}
        flow = str(self.cloud.change("create_flow", "id", **given)["id"])
        group = self.cloud.row("flow", flow, "flow_group_id")["flow_group_id"]
        self.cloud.change("set_flow_group_labels", "success", flow_group_id=group, labels=[text])
        self.cloud.change("set_flow_group_description", "success", flow_group_id=group, description=text)
        return flow

    def run(self, flow: str, state: str, labels: tuple[str, ...]) -> str:
        """A flow run in *state*."""
        text = self.text
        config = {"type": "UniversalRun", text: text}
        more = {"parameters": {text: text}, "context": {text: text}, "run_config": config}
        run = self.cloud.run(flow, flow_run_name=text, labels=[text, *labels], **more)
        later: dict[str, Any] = {"start_time": "2999-01-01T00:00:00Z"} if state in {"Paused", "Scheduled"} else {}
        self.cloud.set_state(run, state, message=text, **later)
        return run

    def give_life(self, run: str) -> None:
        """Task runs (a mapped one with two children), a log and artifacts, while it runs."""
        text, change = self.text, self.cloud.change
        self.cloud.set_state(run, "Running", message=text)
        same = {"flow_run_id": run, "name": text, "timestamp": "2026-01-01T00:00:00Z"}
        change("write_run_logs", "success", logs=[{**same, "level": level, "message": text} for level in LEVELS])
        task = task_run(self.cloud, run, f"0 {text}")
        task_id = self.cloud.row("task_run", task, "task_id")["task_id"]
        for number, state in enumerate(("Running", "Failed")):
            child = change("get_or_create_task_run", "id", flow_run_id=run, task_id=task_id, map_index=number)["id"]
            states = [{"task_run_id": child, "state": {"type": state, "message": text}}]
            change("set_task_run_states", "states { id }", states=states)
            change("set_task_run_name", "success", task_run_id=child, name=text)
        for data in ({"markdown": text}, {"link": text}, {text: [text]}):
            change("create_task_run_artifact", "id", task_run_id=task, kind=text, data=data)

    def settings(self) -> dict[str, str]:
        """Two agents, and one of each kind of setting; their ids."""
        text, change, own = self.text, self.cloud.change, {"tenant_id": self.tenant}
        for labels in ([text, "other"], []):
            agent = change("register_agent", "id", type=text, name=text, labels=labels, **own)["id"]
        change("set_secret", "success", name=text, value=text, **own)
        return {
            "agent_id": agent,
            "flow_limit_id": change("update_flow_concurrency_limit", "id", label=text, limit=1, **own)["id"],
            "task_limit_id": change("update_task_tag_limit", "id", tag=text, limit=1, **own)["id"],
            "key_value_id": change("set_key_value", "id", key=text, value={text[:LONG]: text[:LONG]}, **own)["id"],
            "secret_id": self._secret(),
        }

    def _secret(self) -> str:
        """The id of the secret, which only the file tells; empty if the Cloud is not in this process."""
        if not hasattr(self.cloud, "database"):
            return ""
        with self.cloud.database.read() as tx:
            return str(tx.all("SELECT id FROM secret WHERE tenant_id = ?", [self.tenant])[0]["id"])
