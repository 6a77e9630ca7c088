"""The image that the Containerfile makes, run by a real engine: small, without rights, and it reaps.

``make image`` makes one; PREFECT_AGENT_TEST_AGENT_IMAGE names another.
"""

import os
from collections.abc import Iterator
from importlib import metadata
from typing import Any, Final

import pytest
from docker.api.client import APIClient
from docker.errors import ImageNotFound

pytestmark = pytest.mark.docker

ROOM: Final = 100_000_000
"""Bytes that the image may have over its base; half of them are the Kubernetes client's."""

ZOMBIES: Final = """
import os, subprocess, time
from prefect.agent.entrypoints.cli import pid1 as init
assert os.getpid() == 1
{reap}
orphan = int(subprocess.run(["sh", "-c", "sleep 0.2 >&- & echo $!"], capture_output=True, text=True).stdout)
deadline = time.monotonic() + {seconds}
while os.path.exists(f"/proc/{{orphan}}") and time.monotonic() < deadline:
    time.sleep(0.02)
print("zombie" if os.path.exists(f"/proc/{{orphan}}") else "reaped", flush=True)
"""


@pytest.fixture(scope="module")
def client() -> Iterator[APIClient]:
    """The engine."""
    client = APIClient(version="auto")
    yield client
    client.close()


@pytest.fixture(scope="module")
def image(client: APIClient) -> dict[str, Any]:
    """What the engine knows of the image."""
    name = os.environ.get("PREFECT_AGENT_TEST_AGENT_IMAGE") or f"prefect-agent:{metadata.version('prefect-agent')}"
    try:
        about: dict[str, Any] = client.inspect_image(name)
    except ImageNotFound:
        pytest.skip(
            f"docker: there is no image {name}: run `make image`, or name one in PREFECT_AGENT_TEST_AGENT_IMAGE"
        )
    return about


def run(client: APIClient, image: dict[str, Any], *command: str, entrypoint: str | None = None) -> tuple[int, str]:
    """Exit code and output of one container, with as few rights as an engine can give."""
    config = client.create_host_config(
        read_only=True, network_mode="none", cap_drop=["ALL"], security_opt=["no-new-privileges"]
    )
    container = client.create_container(image["Id"], list(command), entrypoint=entrypoint, host_config=config)
    try:
        client.start(container)
        code = int(client.wait(container, timeout=60)["StatusCode"])
        return code, client.logs(container).decode()
    finally:
        client.remove_container(container, force=True, v=True)


def test_the_image_is_prefect(client: APIClient, image: dict[str, Any]) -> None:
    """`docker run IMAGE agent -h` is `prefect agent -h`, without a network, on a file system that cannot be written."""
    code, output = run(client, image, "agent", "-h")

    assert code == 0
    assert output.startswith("Usage: prefect agent")


def test_exit_codes_come_out(client: APIClient, image: dict[str, Any]) -> None:
    """Through process 1, for whoever decides about a restart."""
    code, output = run(client, image, "agent", "start", "process", "--api", "nonsense")

    assert code == 78
    assert "nonsense" in output


def test_nobody_is_root(client: APIClient, image: dict[str, Any]) -> None:
    """By number, so that Kubernetes can see it (`runAsNonRoot`)."""
    assert image["Config"]["User"] == "10001:10001"
    assert run(client, image, "-c", "id -u", entrypoint="sh") == (0, "10001\n")


def test_nothing_can_be_installed_in_it(client: APIClient, image: dict[str, Any]) -> None:
    """No pip: it would be a way in, and twelve megabytes."""
    code, _ = run(client, image, "-m", "pip", "--version", entrypoint="python")

    assert code == 1


def test_it_is_small(client: APIClient, image: dict[str, Any]) -> None:
    """What the agent adds to its base."""
    layers = client.history(image["Id"])

    assert 0 < sum(layer["Size"] for layer in layers if "prefect-agent" in layer["CreatedBy"]) < ROOM


@pytest.mark.parametrize(
    ("reap", "seconds", "expected"),
    [("init.reap_until_child_ends()", 30, "reaped"), ("", 3, "zombie")],
    ids=["ours", "without"],
)
def test_process_1_reaps(client: APIClient, image: dict[str, Any], reap: str, seconds: int, expected: str) -> None:
    """What a flow run leaves behind does not stay: process 1 adopts it. Without our part it would."""
    program = ZOMBIES.format(reap=reap, seconds=seconds)

    assert run(client, image, "-c", program, entrypoint="python") == (0, f"{expected}\n")
