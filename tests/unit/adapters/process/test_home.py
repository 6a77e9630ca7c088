"""The identity of a state directory: made once, repaired, and known under its older names."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prefect.agent.adapters import state_files
from prefect.agent.adapters.process.home import Home
from prefect.agent.adapters.process.machine import Machine, this_machine

HERE = Machine("a1a1a1a1a1a1", "boot-1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state directory that is not there yet."""
    return tmp_path / "state" / "units"


def test_the_identity_stays(folder: Path) -> None:
    """After a restart, and after a start of the machine; it names the machine and the directory."""
    first = Home(folder, HERE).identity()

    assert first == Home(folder, HERE).identity() == Home(folder, Machine(HERE.id, "boot-2")).identity()
    assert first.startswith(f"process:{HERE.id}:")
    assert first != Home(folder.with_name("other"), HERE).identity()


def test_of_eight_agents_all_have_one_identity(folder: Path) -> None:
    """They start at once: one makes the id, the others read it."""
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: Home(folder, HERE).identity(), range(8)))) == 1


@pytest.mark.parametrize("content", [b"", b"\n", b"not an id!", b"\xff\x00", b"x" * 100_000, None], ids=range(6))
def test_a_damaged_id_is_repaired(folder: Path, content: bytes | None) -> None:
    """Empty or unreadable: the identity is what it was, never an empty one. None stands for a link."""
    before = Home(folder, HERE).identity()
    (folder / "id").unlink()
    if content is None:
        (folder / "id").symlink_to("/etc/hostname")
    else:
        (folder / "id").write_bytes(content)

    assert Home(folder, HERE).identity() == before
    assert not (folder / "id").is_symlink()
    assert (folder / "id").read_text(encoding="ascii") == before.rpartition(":")[2]


def test_a_damaged_id_of_an_older_agent_is_made_anew(folder: Path) -> None:
    """Nothing says what it was: a new one is made, and not an empty one."""
    folder.mkdir(parents=True)
    (folder / "id").touch()

    identity = Home(folder, HERE).identity()

    assert len(identity.rpartition(":")[2]) == 12
    assert Home(folder, HERE).identity() == identity


def test_the_identity_of_an_older_agent_is_an_alias(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It named the host; its claims are still known, also after the host got another name."""
    folder.mkdir(parents=True)
    (folder / "id").write_text("0123456789ab", encoding="ascii")
    older = f"process:{socket.gethostname()}:0123456789ab"

    assert older in Home(folder, HERE).aliases()
    monkeypatch.setattr(socket, "gethostname", lambda: "made-anew")
    home = Home(folder, HERE)
    assert older in home.aliases()
    assert home.identity() == f"process:{HERE.id}:0123456789ab"


def test_a_container_made_anew_knows_its_older_identities(folder: Path) -> None:
    """Another machine id on the same kernel is the same machine; the volume keeps what it was called."""
    before = Home(folder, HERE).identity()

    anew = Home(folder, Machine("b2b2b2b2b2b2", HERE.boot))

    assert anew.identity() != before
    assert before in anew.aliases()
    assert anew.identity() not in anew.aliases()


def test_another_host_is_another_place(folder: Path) -> None:
    """One home on two hosts: neither takes the other's claims for its own, whatever the order."""
    there = Machine("b2b2b2b2b2b2", "boot-9")
    first = Home(folder, HERE).identity()

    other = Home(folder, there)

    assert other.identity() != first
    assert first not in other.aliases()
    assert other.identity() not in Home(folder, HERE).aliases()


@pytest.mark.parametrize("text", ["", "{", "{}", '[1, {"identity": 2}, {"identity": "x"}]', "[" * 50_000])
def test_damaged_memories_are_forgotten(folder: Path, text: str) -> None:
    """The file of older identities spoils nothing, whatever it says."""
    identity = Home(folder, HERE).identity()
    (folder / "identities").write_text(text, encoding="ascii")

    assert Home(folder, HERE).identity() == identity


def test_memories_are_bounded(folder: Path) -> None:
    """However often a container is made anew."""
    for number in range(60):
        Home(folder, Machine(f"{number:012d}", "boot-1")).identity()

    assert len(Home(folder, HERE).aliases()) <= 33
    assert (folder / "identities").stat().st_size < state_files.LIMIT


def test_a_lost_directory_gets_its_identity_back(folder: Path) -> None:
    """As long as an agent lives that knows it."""
    home = Home(folder, HERE)
    identity = home.identity()
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()

    home.ensure()

    assert Home(folder, HERE).identity() == identity


def test_the_directory_is_private(folder: Path) -> None:
    """Also one that an older agent made for all to read."""
    folder.mkdir(parents=True, mode=0o755)

    Home(folder, HERE).identity()

    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_a_file_that_cannot_be_written_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk: the old content stays, and nothing half is left beside it."""
    path = tmp_path / "id"
    state_files.write(path, b"before")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        state_files.write(path, b"after", synced=True)

    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["id"]


def test_this_machine_is_not_elsewhere() -> None:
    """Looked at twice, it is the same one; one that has no id may be any."""
    assert not this_machine().is_elsewhere(this_machine())
    assert not Machine().is_elsewhere(HERE)
    assert HERE.is_elsewhere(Machine("b2b2b2b2b2b2", "boot-9"))
