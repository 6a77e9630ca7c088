"""What a folder is good for, found out without changing it."""

from pathlib import Path

import pytest

from prefect.agent.adapters.folders import look_at


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """It is not made; its disk is that of the nearest one."""
    found = look_at(tmp_path / "a" / "b", "x")

    assert (found.exists, found.problem) == (False, "")
    assert found.free
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("mode", "is_open"), [(0o700, False), (0o755, False), (0o770, True), (0o777, True)])
def test_a_folder_in_which_others_can_write(tmp_path: Path, mode: int, is_open: bool) -> None:
    """The agent refuses it."""
    folder = tmp_path / "units"
    folder.mkdir()
    folder.chmod(mode)

    found = look_at(folder, "x")

    assert (found.is_open, bool(found.problem)) == (is_open, is_open)


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    """Also above it."""
    (tmp_path / "file").write_text("")

    assert "is no folder" in look_at(tmp_path / "file", "x").problem
    assert look_at(tmp_path / "file" / "units", "x").problem


def test_a_home_that_does_not_exist() -> None:
    """No error is raised."""
    assert look_at(Path("~no-such-user/x"), "x").problem
