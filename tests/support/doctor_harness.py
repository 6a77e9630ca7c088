"""``prefect agent doctor`` as people and programs call it, with a home and a Cloud of one's own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import requests

from support.commands import bare_environment


@attrs.frozen
class Found:
    """What the command prints and how it ends."""

    code: int
    checks: list[dict[str, Any]]
    output: str

    def all(self, name: str) -> list[tuple[str, str]]:
        """Severity and text of each finding of a check."""
        return [(check["severity"], check["text"]) for check in self.checks if check["name"] == name]

    def one(self, name: str) -> tuple[str, str]:
        """The only finding of a check."""
        (found,) = self.all(name)
        return found


@attrs.frozen
class DoctorHarness:
    """A home and a Cloud of one's own."""

    home: Path
    url: str

    def doctor(self, *words: str, **more: str) -> Found:
        """The command, as a program calls it."""
        done = self.said(*words, "--output", "json", **more)
        assert done.stdout, done.stderr
        said = json.loads(done.stdout)
        assert said["exit_code"] == done.returncode
        return Found(done.returncode, said["checks"], done.stdout + done.stderr)

    def said(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """The command, as a person calls it."""
        env = {"PREFECT__BACKEND": "server", "PREFECT__CLOUD__API": self.url} | more
        env = bare_environment(self.home, "echo 1.4.1") | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")} | env
        command = [sys.executable, "-m", "prefect.agent", "agent", "doctor", *words]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)

    def flow(self, name: str, **config: object) -> str:
        """Register a flow with a run config; its id."""
        flow = {"name": name, "tasks": [], "edges": [], "type": "prefect.core.flow.Flow", "__version__": "1.4.1"}
        project = self.mutate("create_project", name=f"project of {name}")
        return self.mutate("create_flow", project_id=project, serialized_flow={**flow, "run_config": config})

    def mutate(self, mutation: str, /, **given: object) -> str:
        """One mutation; the id that it gives."""
        document = f"mutation($input: {mutation}_input!) {{ {mutation}(input: $input) {{ id }} }}"
        body = {"query": document, "variables": {"input": given}}
        return str(requests.post(self.url, json=body, timeout=30).json()["data"][mutation]["id"])
