"""What ``kubernetes_jobs.py`` starts as processes of their own: ways to make Jobs, each told by lines when to begin.

``kubernetes_loads.py urllib3|sdk|platform SPEC`` reads numbers of Jobs from its input, makes as many, and answers each
with a line of JSON; ``follow`` has it wait for the ends of all. ``kubernetes_loads.py agent FILE WORDS...`` is
``prefect WORDS`` and leaves its counts in FILE.
"""

import json
import resource
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

HERE: Final = str(Path(__file__).parent)
sys.path[:] = [path for path in sys.path if path != HERE]

from prefect.agent.adapters.kubernetes import manifest, templates  # noqa: E402
from prefect.agent.adapters.kubernetes.throttle import Throttle  # noqa: E402
from prefect.agent.domain.model.flow_runs import FlowRunId  # noqa: E402
from prefect.agent.domain.model.run_configs import KubernetesRun  # noqa: E402
from prefect.agent.domain.model.submissions import Submission  # noqa: E402
from prefect.agent.domain.model.units import UnitStatus  # noqa: E402

VARIABLES: Final = 12
JSON: Final = {"Content-Type": "application/json"}


def submission() -> Submission:
    """One as the agent makes them: a dozen variables and a key."""
    run_id = str(uuid.uuid4())
    return Submission(
        name=f"prefect-{run_id}-1",
        flow_run_id=FlowRunId(run_id),
        attempt="1",
        command=("prefect", "execute", "flow-run"),
        image="none",
        env={f"PREFECT__VARIABLE__{number}": f"value {number}" for number in range(VARIABLES)},
        secret_env={"PREFECT__CLOUD__API_KEY": "key"},
        run_config=KubernetesRun(),
    )


def body(spec: dict[str, Any]) -> dict[str, Any]:
    """The Job that the platform makes of one."""
    return manifest.job(
        submission(),
        templates.load(spec["template"]),
        from_run=False,
        defaults=manifest.JobDefaults(namespace=spec["namespace"]),
        secret=manifest.SecretReference(name="agent", key="api-key"),
    )


Make = Callable[[Sequence[Any]], None]


class Raw:
    """POST and nothing else, with the pool that the SDK makes."""

    def __init__(self, spec: dict[str, Any]) -> None:
        from kubernetes.client.configuration import Configuration  # noqa: PLC0415
        from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415
        from kubernetes.config import load_kube_config  # noqa: PLC0415

        configuration: Any = Configuration()
        load_kube_config(client_configuration=configuration)
        configuration.connection_pool_maxsize = spec["threads"]
        self._url = f"{configuration.host}/apis/batch/v1/namespaces/{spec['namespace']}/jobs"
        self._pool = RESTClientObject(configuration).pool_manager
        self._spec = spec

    def prepare(self, count: int) -> list[Any]:
        """Bodies."""
        return [body(self._spec) for _ in range(count)]

    def make(self, given: Any) -> None:
        """One Job."""
        answer = self._pool.request("POST", self._url, body=json.dumps(given).encode(), headers=JSON)
        assert answer.status == 201, answer.data

    def follow(self, made: Sequence[Any]) -> None:
        """Not this one's business."""


class Sdk(Raw):
    """The generated client, as most programs use it."""

    def __init__(self, spec: dict[str, Any]) -> None:
        super().__init__(spec)
        from kubernetes import client, config  # noqa: PLC0415

        config.load_kube_config()
        configuration = client.Configuration.get_default_copy()
        configuration.connection_pool_maxsize = spec["threads"]
        self._api = client.BatchV1Api(client.ApiClient(configuration))

    def make(self, given: Any) -> None:
        """One Job."""
        self._api.create_namespaced_job(self._spec["namespace"], given)


class Platform:
    """The agent's platform."""

    def __init__(self, spec: dict[str, Any]) -> None:
        from prefect.agent.adapters.kubernetes import factory  # noqa: PLC0415

        self._platform = factory(
            namespace=spec["namespace"], job_template_path=spec["template"], api_key_secret="agent/api-key"
        )
        self._platform.check()
        self._platform.units()

    def prepare(self, count: int) -> list[Any]:
        """Submissions."""
        return [submission() for _ in range(count)]

    def make(self, given: Any) -> None:
        """One unit."""
        self._platform.create(given)

    def follow(self, made: Sequence[Any]) -> None:
        """Watch until all of them have succeeded."""
        wanted = {given.name for given in made}
        while wanted:
            for _ in self._platform.watch(seconds=0.5):
                pass
            wanted -= {unit.name for unit in self._platform.units() if unit.status is UnitStatus.SUCCEEDED}


LOADS: Final[dict[str, Any]] = {"urllib3": Raw, "sdk": Sdk, "platform": Platform}


def usage() -> dict[str, float]:
    """CPU seconds and highest resident memory of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}


def count_requests() -> Callable[[], int]:
    """From now on, count what is asked of the API server."""
    counted: list[None] = []
    take = Throttle.take

    def counting(self: Throttle) -> None:
        counted.append(None)
        take(self)

    Throttle.take = counting  # type: ignore[method-assign]
    return lambda: len(counted)


def run(kind: str, spec: dict[str, Any]) -> None:
    """Make Jobs as often as asked."""
    counted = count_requests()
    load = LOADS[kind](spec)
    load.make(load.prepare(1)[0])  # connections and imports
    with ThreadPoolExecutor(spec["threads"]) as pool:
        print(json.dumps({"ready": True}), flush=True)
        everything: list[Any] = []
        for line in sys.stdin:
            began = time.perf_counter()
            if line.strip() == "follow":
                load.follow(everything)
                print(json.dumps({"followed": time.perf_counter() - began}), flush=True)
                continue
            given = load.prepare(int(line))
            everything += given
            before, used = counted(), usage()["cpu"]
            began = time.perf_counter()
            list(pool.map(load.make, given))
            made = time.perf_counter() - began
            told = {"made": made, "requests": counted() - before, **usage()}
            print(json.dumps({**told, "cpu": told["cpu"] - used}), flush=True)


def agent(file: Path, words: Sequence[str]) -> None:
    """The command, and its counts when it ends."""
    from prefect.agent.__main__ import main  # noqa: PLC0415

    counted = count_requests()
    sys.argv[1:] = words
    try:
        main()
    finally:
        file.write_text(json.dumps({"requests": counted(), **usage()}))


if __name__ == "__main__":
    if sys.argv[1] == "agent":
        agent(Path(sys.argv[2]), sys.argv[3:])
    else:
        run(sys.argv[1], json.loads(sys.argv[2]))
