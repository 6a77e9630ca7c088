"""The platform of agents that start flow runs by code of their own."""

import socket
import threading
from pathlib import Path

import pytest

from prefect.agent.adapters.null import NullPlatform
from prefect.agent.domain.errors import SubmissionRefused
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.submissions import Submission


@pytest.fixture
def platform() -> NullPlatform:
    """One of this machine."""
    return NullPlatform("ann")


def test_it_never_has_units(platform: NullPlatform) -> None:
    """Before and after everything that can be asked of it."""
    platform.check()
    platform.stop("prefect-x", grace=0)
    platform.remove("prefect-x")

    assert list(platform.units()) == []
    assert platform.unit("prefect-x") is None
    assert platform.logs_tail("prefect-x") == platform.account("prefect-x") == ""


def test_it_creates_nothing(platform: NullPlatform) -> None:
    """The flow run is refused in words that say what to do."""
    with pytest.raises(SubmissionRefused, match="deploy_flow"):
        platform.create(Submission(name="prefect-x", flow_run_id=FlowRunId("x"), attempt="1", command=("true",)))


def test_the_place_is_this_machine_and_the_agents_name(tmp_path: Path) -> None:
    """The same after a restart; another machine or name is another place; the machine's id is not shown."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("0123456789abcdef0123456789abcdef\n", encoding="ascii")
    other.write_text("fedcba9876543210fedcba9876543210\n", encoding="ascii")
    identity = NullPlatform("ann", machine_id=one).identity

    assert identity == NullPlatform("ann", machine_id=one).identity
    assert NullPlatform("eve", machine_id=one).identity != identity
    assert NullPlatform("ann", machine_id=other).identity != identity
    assert identity.startswith("none:")
    assert identity.endswith(":ann")
    assert "0123456789abcdef" not in identity


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_machine_without_an_id_goes_by_its_host_name(tmp_path: Path, content: bytes | None) -> None:
    """Containers have none."""
    path = tmp_path / "machine-id"
    if content is not None:
        path.write_bytes(content)

    assert NullPlatform("ann", machine_id=path).identity == f"none:{socket.gethostname()}:ann"


def test_a_watch_sees_nothing_and_ends_with_the_platform(platform: NullPlatform) -> None:
    """It takes its time: a loop that watches must not spin."""
    seen: list[list[object]] = []
    watching = threading.Thread(target=lambda: seen.append(list(platform.watch(seconds=60))))
    watching.start()
    assert watching.is_alive()

    platform.close()
    platform.close()
    watching.join(30)

    assert seen == [[]]
