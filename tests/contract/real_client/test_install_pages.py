"""The pages on Kubernetes and on process managers do what they say: typed as far as can be here, else read and checked.

What is written below ``/etc`` goes below the reader's home, and the page's namespace is the test's own.
"""

import configparser
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Final

import pytest
import yaml

from prefect.agent.entrypoints.server.services import Routine
from prefect.agent.entrypoints.server.testing import running_server
from support.console_pages import Step, steps, typed
from support.kubernetes.control_plane import ControlPlane
from support.kubernetes.installing import kubectl
from support.kubernetes.kubelet import ProcessKubelet
from support.terminals import Reader, reader
from support.typed_pages import Page, excuse

ROOT: Final = Path(__file__).resolve().parents[3]
OWN: Final = Path(sys.executable).parent
KUBERNETES: Final = "docs/kubernetes.md"
ELSEWHERE: Final = "docs/install-elsewhere.md"
KEY: Final = "pcu_of-a-reader"

READY: Final = json.dumps(
    {
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }
    }
)
PODS: Final = "kubectl get pods --namespace metrics --selector app=prefect-agent --output name"

STORED_KEY: Final = "kubectl get secret prefect-key --namespace metrics --output jsonpath={.data.api-key}"
NODES: Final = "kubectl get nodes --output name | xargs --no-run-if-empty kubectl"
REMOVE: Final = "prefect agent install --existing-secret prefect-key --namespace metrics | kubectl delete -f -"

APPLIED: Final = Page(
    before=(f"{NODES} cordon",),  # the node that is played has no image of the agent: the reader plays its pod
    between={
        "kubectl rollout": (
            f"until {PODS} | grep pod/; do :; done",
            f"kubectl patch --namespace metrics $({PODS}) --subresource=status --type=merge --patch '{READY}'",
        ),
        "prefect agent start": ("export PREFECT__BACKEND=server PREFECT__CLOUD__API=CLOUD-URL",),
        "prefect agent selftest": (
            "unset PREFECT__BACKEND PREFECT__CLOUD__API",
            f"{STORED_KEY} | base64 -d | cmp key.txt -",
            "kubectl get deployment prefect-agent --namespace metrics --output yaml | grep 'name: prefect-key'",
            REMOVE,
            f"{NODES} uncordon",
        ),
    },
    after=('test -z "$(kubectl get deployments,roles,rolebindings --namespace metrics --output name)"',),
)
BY_HELM: Final = Page(
    before=("kubectl create secret generic prefect-key --namespace metrics --from-file=api-key=key.txt",),
    after=(
        "kubectl get deployment prefect-agent --namespace metrics --output yaml | grep 'name: prefect-key'",
        "helm uninstall prefect-agent --namespace metrics",
    ),
)
SERVICE: Final = "~/etc/systemd/system/prefect-agent.service"
AS_A_SERVICE: Final = Page(
    after=(
        f"systemd-analyze verify {SERVICE}",
        "systemctl --root=$HOME enable prefect-agent",  # --now needs a systemd that runs
        "test -L ~/etc/systemd/system/multi-user.target.wants/prefect-agent.service",
        'test "$(stat --format=%a ~/etc/prefect-agent/api-key)" = 600',
    )
)

NOT_TYPED: Final[dict[str, dict[str, str]]] = {
    KUBERNETES: {
        "make image": "needs an image to build on: .ci/run makes the image from one that is there",
        "make demo": "needs a node: .ci/run plays it with one",
    },
    ELSEWHERE: {
        "systemctl": "needs a systemd that runs; the unit is verified and enabled",
        "supervisord": "needs supervisor; what it would start is started",
        "docker build": "needs an image to build on: test_image.py has one",
        "DOCKER_GID": "needs docker compose and that image; the file is read",
    },
}
"""By page and beginning of a command: why it is not typed."""


def steps_with(page: str, *begins: str) -> list[Step]:
    """The steps of a page whose commands begin so."""
    found = [step for step in steps(ROOT / page) if step.command.startswith(begins)]
    assert all(any(step.command.startswith(begin) for step in found) for begin in begins), begins
    return found


def program(name: str, found: str | None = None) -> str:
    """The folder of a program that is not part of the tests' environment."""
    found = found or shutil.which(name, path=f"{OWN}:{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not here: install it")
    return str(Path(found).parent)


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[str]:
    """A Cloud that the agents can ask."""
    with running_server(tmp_path / "cloud.db", routine=Routine(enabled=())) as url:
        yield url


@pytest.fixture
def schedulable(control_plane: ControlPlane, kubelet: ProcessKubelet) -> Iterator[None]:
    """The node of the tests, which takes pods again in any case."""
    yield
    control_plane.api.patch(f"/api/v1/nodes/{kubelet.node}", {"spec": {"unschedulable": None}})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The reader's, with a key and the checkout's chart."""
    made = tmp_path / "home"
    for folder in (".kube", "etc/systemd/system", "deploy"):
        (made / folder).mkdir(parents=True)
    (made / "deploy" / "chart").symlink_to(ROOT / "deploy" / "chart")
    (made / "key.txt").write_text(KEY, encoding="utf-8")
    (made / "key.txt").chmod(0o600)
    return made


def at_home(home: Path, *programs: str, variables: Mapping[str, str] = {}) -> AbstractContextManager[Reader]:
    """A reader with this machine's network and these folders of programs beside our own."""
    return reader(home, {"own": [str(OWN), *programs]}, variables, network=lambda: nullcontext([]))


@contextmanager
def at_a_cluster(home: Path, plane: ControlPlane, *programs: str) -> Iterator[Reader]:
    """A reader whose kubeconfig names the control plane."""
    shutil.copy(plane.kubeconfig, home / ".kube" / "config")
    (home / ".kube" / "config").chmod(0o600)
    with at_home(home, *programs) as found:
        yield found


@pytest.mark.kubernetes
@pytest.mark.usefixtures("schedulable")
def test_the_agent_is_applied_to_a_cluster(control_plane: ControlPlane, namespace: str, home: Path, cloud: str) -> None:
    """Installed, rolled out, with a key that is there already; started from outside; tried out; removed."""
    page = [
        step
        for step in steps(ROOT / KUBERNETES)
        if not step.command.startswith("helm") and not excuse(NOT_TYPED[KUBERNETES], step)
    ]
    with at_a_cluster(home, control_plane, program("kubectl", kubectl())) as person:
        APPLIED.type(person, page, lambda command: command.replace("metrics", namespace).replace("CLOUD-URL", cloud))


@pytest.mark.kubernetes
def test_the_agent_is_installed_by_helm(control_plane: ControlPlane, namespace: str, home: Path) -> None:
    """From the chart of the checkout, with a key that is there already."""
    page = steps_with(KUBERNETES, "helm install")
    with at_a_cluster(home, control_plane, program("kubectl", kubectl()), program("helm")) as person:
        BY_HELM.type(person, page, lambda command: command.replace("metrics", namespace))


def test_the_agent_is_a_service_of_systemd(home: Path) -> None:
    """The unit is one that systemd takes and enables, and the key is for its owner alone."""
    program("systemd-analyze")
    page = [step for step in steps(ROOT / ELSEWHERE) if "/etc/" in step.command]
    assert [step.command.split()[0] for step in page] == ["prefect", "install"]
    with at_home(home) as person:
        AS_A_SERVICE.type(
            person, page, lambda command: command.replace(" /etc/", " ~/etc/").replace(">/etc/", ">~/etc/")
        )


@pytest.mark.docker
def test_the_agent_is_started_as_supervisor_would(home: Path, cloud: str) -> None:
    """Its file is for the owner alone, has the key, and its command is an agent that works for the Cloud."""
    page = steps_with(ELSEWHERE, "prefect agent install supervisor", "chmod 600 supervisord.conf")
    there = {"PREFECT__BACKEND": "server", "PREFECT__CLOUD__API": cloud}
    with at_home(home, variables=there) as person:
        Page().type(person, page)
        file = home / "supervisord.conf"
        parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"))
        parser.read_string(file.read_text(encoding="utf-8"))
        managed = parser["program:prefect-agent"]
        assert f"{file.stat().st_mode & 0o777:o}" == "600"
        assert managed["environment"] == f'PREFECT__CLOUD__API_KEY="{KEY}"'
        # As supervisord does: it reads the file, and starts the command with this environment.
        [step] = typed(f"env {managed['environment']} {managed['command']}")
        person.do(step)
        person.stop()


def test_the_agent_is_a_service_of_compose(home: Path) -> None:
    """What the page types before `docker compose up`: a file with a service, and the file of its key."""
    page = steps_with(ELSEWHERE, "prefect agent install compose", "install -m 600")
    with at_home(home) as person:
        Page().type(person, page)
    [service] = yaml.safe_load((home / "compose.yaml").read_text(encoding="utf-8"))["services"].values()

    assert [f"{(home / name).stat().st_mode & 0o777:o}" for name in service["env_file"]] == ["600"]
    [up] = steps_with(ELSEWHERE, "DOCKER_GID")
    assert {name.partition("=")[0] for name in shlex.split(up.command) if "=" in name} == set(
        re.findall(r"\$\{(\w+)", str(service))
    )
    image = steps_with(ELSEWHERE, "docker build")[0].command.split()
    assert service["image"] == image[image.index("--tag") + 1]
    assert (ROOT / image[image.index("--file") + 1]).is_file()


@pytest.mark.parametrize(("page", "begin"), [(page, begin) for page, reasons in NOT_TYPED.items() for begin in reasons])
def test_what_is_not_typed_is_on_its_page(page: str, begin: str) -> None:
    """A command that was changed or removed needs its reason no more."""
    assert steps_with(page, begin)


TYPED_ELSEWHERE: Final = ("prefect agent install", "install ", "chmod 600 supervisord.conf")


def test_every_command_is_typed_or_has_a_reason() -> None:
    """Those of the page on clusters are typed as they come; the other page's are known one by one."""
    known = [step for step in steps(ROOT / ELSEWHERE) if step.command.startswith(TYPED_ELSEWHERE)]
    others = [
        step.command for step in steps(ROOT / ELSEWHERE) if step not in known and not excuse(NOT_TYPED[ELSEWHERE], step)
    ]

    assert others == []
