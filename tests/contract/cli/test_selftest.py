"""``prefect-agent agent selftest`` as a person types it, on every platform."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prefect.agent.domain.model.units import Unit

if TYPE_CHECKING:
    from support.kubernetes.control_plane import ControlPlane
    from support.kubernetes.kubelet import ProcessKubelet

PREFECT_AGENT = Path(sys.executable).parent / "prefect-agent"
KEPT = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "DOCKER_HOST", "PATH")
PROOFS = [
    "ok the platform answers, and the agent may do its work there",
    "ok an agent killed between claim and start: the next one starts the run, once",
    "ok an agent killed between start and report: the next one starts nothing twice",
    "ok a unit that dies is reported, with its exit code and last output (exit code 7)",
    "ok a cancelled run's unit is stopped, with proof",
]


def selftest(home: Path, *words: str | Path, **more: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end in a home of its own."""
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    command = [PREFECT_AGENT, "agent", "selftest", *words]
    return subprocess.run(
        command,
        env={**env, "HOME": str(home), "LANG": "C.UTF-8", **more},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def assert_proven(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """Five lines and nothing else; return their units."""
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert len(lines) == len(PROOFS), done.stdout
    assert all(line.startswith(words) for line, words in zip(lines, PROOFS, strict=True)), done.stdout
    return [word.strip("()") for line in lines for word in line.split() if word.startswith("(prefect-")]


@contextmanager
def platform(name: str, **options: Any) -> Iterator[Any]:
    """A platform of that kind, to look at what is left."""
    from prefect.agent.entrypoints.factories import platform_factory  # noqa: PLC0415

    made = platform_factory(name)(**options)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.real_prefect
def test_processes(prefect_python: Path, tmp_path: Path) -> None:
    """With a Python that has Prefect all is proven, and no unit is left."""
    assert assert_proven(selftest(tmp_path, "process", "--interpreter", prefect_python))

    assert list((tmp_path / ".prefect-agent" / "units").glob("prefect-*")) == []


def test_what_is_not_proven_fails_it(tmp_path: Path) -> None:
    """Without a Prefect for its flow runs a process agent does not start: the line says so, the others are tried."""
    done = selftest(tmp_path, "process", PATH="/usr/bin:/bin")

    first, *rest = done.stdout.splitlines()
    assert done.returncode == 70
    assert first.startswith("x the platform answers")
    assert "--interpreter" in first
    assert [line.partition(" (")[0] for line in rest] == [line.partition(" (")[0] for line in PROOFS[1:]]


def test_a_platform_that_does_not_exist_is_a_wrong_configuration(tmp_path: Path) -> None:
    """One sentence with the names there are."""
    done = selftest(tmp_path, "nowhere")

    assert (done.returncode, done.stdout) == (78, "")
    assert "docker" in done.stderr


@pytest.mark.docker
def test_containers(small_image: str, tmp_path: Path) -> None:
    """An image that cannot be pulled, but is there, is no word worth; no container is left."""
    [unit] = assert_proven(selftest(tmp_path, "docker", "--image", small_image))

    with platform("docker") as engine:
        assert engine.unit(unit) is None


@pytest.mark.kubernetes
def test_jobs(control_plane: "ControlPlane", kubelet: "ProcessKubelet", namespace: str, tmp_path: Path) -> None:
    """In a namespace, by a kubeconfig; no Job is left."""
    config = str(control_plane.kubeconfig)
    done = selftest(tmp_path, "kubernetes", "--namespace", namespace, "--image", "any", KUBECONFIG=config)
    [unit] = assert_proven(done)

    with platform("kubernetes", namespace=namespace, kubeconfig=config) as cluster:
        left: list[Unit] = cluster.units()
    assert unit
    assert [each for each in left if not each.status.has_ended] == []
