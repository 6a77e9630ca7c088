"""A namespace, and what a test does there by hand."""

import uuid
from collections.abc import Callable
from typing import Any, Final

import attrs

from support.kubernetes.api import Api, ApiRefused, Object
from support.waiting import wait_until

MAY_LIST: Final = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
MAY_CREATE: Final = [*MAY_LIST, {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}]
NOWHERE: Final = {"no": "such-node"}
"""A node selector with which pods stay Pending."""


@attrs.frozen
class ScratchNamespace:
    """A namespace, and what can be done there."""

    api: Api
    namespace: str

    @property
    def pods(self) -> str:
        """Path of its pods."""
        return f"/api/v1/namespaces/{self.namespace}/pods"

    @property
    def jobs(self) -> str:
        """Path of its Jobs."""
        return f"/apis/batch/v1/namespaces/{self.namespace}/jobs"

    def secret(self, name: str) -> None:
        """Make a Secret with one key."""
        path = f"/api/v1/namespaces/{self.namespace}/secrets"
        self.api.post(path, {"metadata": {"name": name}, "stringData": {"key": "s3cr3t"}})

    def start(self, script: str = "exit 0", *, ending: str = "", env: object = (), **spec: object) -> str:
        """Make a Job that executes a shell script; return its name."""
        name = f"unit-{uuid.uuid4().hex[:8]}"
        container = {"name": "flow", "image": "none", "args": ["sh", "-c", script], "env": env}
        about = {"labels": {"prefect.io/unit": name}, "annotations": {"lab.test/ending": ending} if ending else {}}
        template = {"metadata": about, "spec": {"restartPolicy": "Never", "containers": [container], **spec}}
        self.api.post(self.jobs, {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": template}})
        return name

    def pod(self, name: str) -> Object | None:
        """The pod of a Job."""
        return next(iter(self.api.list(self.pods, labelSelector=f"job-name={name}")), None)

    def status(self, name: str) -> dict[str, Any]:
        """The status of that pod."""
        return dict((self.pod(name) or {}).get("status", {}))

    def state(self, name: str) -> dict[str, Any]:
        """What its container does."""
        return dict((self.status(name).get("containerStatuses") or [{"state": {}}])[0]["state"])

    def runs(self, name: str) -> bool:
        """Whether its container does something."""
        return "running" in self.state(name)

    def ended(self, name: str) -> dict[str, Any]:
        """How its container ended, once it has and the Job knows."""

        def is_over() -> bool:
            return bool({"Complete", "Failed"} & {each["type"] for each in self.conditions(name)})

        wait_until(is_over, 60, f"{name} is over")
        return dict(self.state(name)["terminated"])

    def conditions(self, name: str) -> list[dict[str, str]]:
        """What is said of a Job."""
        return list(self.api.get(f"{self.jobs}/{name}")["status"].get("conditions", ()))

    def log(self, name: str, **query: object) -> str:
        """Its output, through the API server."""
        pod = self.pod(name)
        assert pod is not None
        return self.api.text(f"{self.pods}/{pod['metadata']['name']}/log", **query)


def job(name: str) -> Object:
    """A Job whose pod stays Pending."""
    container = {"name": "flow", "image": "none"}
    spec = {"restartPolicy": "Never", "containers": [container], "nodeSelector": NOWHERE}
    return {"metadata": {"name": name}, "spec": {"template": {"spec": spec}}}


def is_allowed(call: Callable[[], object]) -> bool:
    """Whether the account behind the call may do it; other refusals are raised."""
    try:
        call()
    except ApiRefused as refused:
        if refused.status != 403:
            raise
        return False
    return True
