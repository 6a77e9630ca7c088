"""Where reports are kept: places that only this user can write in, or the memory."""

import errno
import os
from pathlib import Path

import pytest

from prefect.agent.adapters.reports import DiskReports, reports_store
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.ports.reports import MemoryReports
from support.disk import OWNER


@pytest.mark.parametrize("level", ["state", "reports", "owner"])
def test_a_folder_that_others_can_write_in_is_refused(tmp_path: Path, level: str) -> None:
    """The reports are in memory, and the problem says where and what to do."""
    state = tmp_path / "state"
    where = {"state": state, "reports": state / "reports", "owner": state / "reports" / OWNER}[level]
    where.mkdir(parents=True)
    where.chmod(0o777)

    with pytest.raises(ConfigurationError, match="chmod go-w"):
        DiskReports(state, OWNER)
    store = reports_store(str(state), OWNER)

    assert isinstance(store, MemoryReports)
    assert str(where) in store.problem
    assert store.where == "memory"


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """Reports go where the state directory is; the state directory itself may be a link."""
    (tmp_path / "there").mkdir(mode=0o700)
    (tmp_path / "state").symlink_to("there")
    (tmp_path / "there" / "reports").symlink_to(tmp_path)

    assert "link" in reports_store(str(tmp_path / "state"), OWNER).problem


def test_the_place_that_a_person_names_comes_first(tmp_path: Path) -> None:
    """Then the agent's variable, then the first of systemd's, then the home."""
    home, environ = str(tmp_path / "home"), dict[str, str]()
    stores = [reports_store(None, OWNER, environ=environ, home=home)]
    for name, value in (("STATE_DIRECTORY", f"{tmp_path}/s1:{tmp_path}/s2"), ("PREFECT_AGENT_STATE_DIRECTORY", "v")):
        environ[name] = value if ":" in value else str(tmp_path / value)
        stores.append(reports_store(None, OWNER, environ=environ, home=home))
    stores.append(reports_store(str(tmp_path / "option"), OWNER, environ=environ, home=home))

    assert [Path(store.where).parts[-3] for store in stores] == ["home", "s1", "v", "option"]
    for store in stores:
        store.close()


def test_a_home_that_cannot_be_used_is_no_problem(tmp_path: Path) -> None:
    """As in a container: the reports are in memory, and where they are says why."""
    (tmp_path / "file").touch()

    store = reports_store(None, OWNER, environ={}, home=str(tmp_path / "file" / "home"))

    assert isinstance(store, MemoryReports)
    assert store.problem == ""
    assert store.where.startswith("memory (")
    assert os.strerror(errno.ENOTDIR) in store.where


def test_a_named_place_that_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    """A person relies on it."""
    (tmp_path / "file").touch()

    store = reports_store(str(tmp_path / "file"), OWNER, environ={})

    assert isinstance(store, MemoryReports)
    assert store.problem.startswith(str(tmp_path / "file"))


@pytest.mark.parametrize("owner", ["../../up", "", "a/b", ".", "x" * 200, "\udcff"])
def test_an_owner_is_one_folder(tmp_path: Path, owner: str) -> None:
    """Whatever its mark is made of."""
    store = DiskReports(tmp_path, owner)
    store.close()

    assert Path(store.where).parent == tmp_path / "reports"
