"""Which program executes flow runs, and what it inherits."""

import os
import sys
from pathlib import Path

import pytest

from prefect.agent.adapters.docker.volumes import parse_volume
from prefect.agent.adapters.process import interpreters, places
from prefect.agent.domain.errors import ConfigurationError, PlatformUnavailable
from prefect.agent.entrypoints.settings.configuration import Configuration


def program(folder: Path, name: str = "prefect", text: str = "exit 0") -> Path:
    """A program in a folder that is made."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    path.chmod(0o755)
    return path


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of this package's own ``prefect`` command."""
    folder = tmp_path / "own" / "bin"
    program(folder)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setattr(sys, "argv", [str(folder / "prefect")])
    return folder


COMMAND = ("prefect", "execute", "flow-run")


def test_our_own_command_is_passed_over(own: Path, tmp_path: Path) -> None:
    """This package has a ``prefect`` command too, which cannot execute flows: the next one on PATH is taken."""
    real = program(tmp_path / "real" / "bin")

    words = interpreters.command_line(COMMAND, None, {"PATH": f"{own}{os.pathsep}{real.parent}"})

    assert words == [str(real), "execute", "flow-run"]


def test_our_own_command_is_passed_over_through_a_link(own: Path, tmp_path: Path) -> None:
    """Both pipx and uv put a link to the command into a folder of PATH: it is the same command."""
    links = tmp_path / "links"
    links.mkdir()
    (links / "prefect").symlink_to(own / "prefect")
    real = program(tmp_path / "real" / "bin")

    words = interpreters.command_line(COMMAND, None, {"PATH": f"{links}{os.pathsep}{real.parent}"})

    assert words[0] == str(real)


def test_without_a_prefect_nothing_can_be_executed(own: Path) -> None:
    """The message says how to mend it."""
    with pytest.raises(PlatformUnavailable, match="--interpreter"):
        interpreters.command_line(COMMAND, None, {"PATH": f"{own}{os.pathsep}"})
    with pytest.raises(PlatformUnavailable, match="--interpreter"):
        interpreters.check(None, {"PATH": str(own)})


def test_a_stated_interpreter_runs_prefect_as_a_module() -> None:
    """PATH does not matter then."""
    assert interpreters.command_line(COMMAND, "/v/bin/python", {}) == ["/v/bin/python", "-m", *COMMAND]


def test_another_command_is_taken_as_it_is() -> None:
    """A backend may name a program of its own."""
    assert interpreters.command_line(("/bin/true", "x"), "/v/bin/python", {}) == ["/bin/true", "x"]


def test_an_interpreter_is_found_on_path_or_refused(tmp_path: Path) -> None:
    """Where it was meant is fixed at start: a flow run with another working directory finds it too."""
    found = program(tmp_path, "python9")

    assert interpreters.resolve("python9", {"PATH": str(tmp_path)}) == str(found)
    assert interpreters.resolve(None, {}) is None
    with pytest.raises(ConfigurationError, match="python10"):
        interpreters.resolve("python10", {"PATH": str(tmp_path)})


@pytest.mark.parametrize(
    ("text", "words"),
    [("exit 1", "has no Prefect"), ("echo 2.20.4", "Prefect 2.20.4"), ("echo", "install prefect<2")],
    ids=["none", "newer", "mute"],
)
def test_an_interpreter_without_the_right_prefect_is_refused(tmp_path: Path, text: str, words: str) -> None:
    """Flow runs of the 0.x and 1.x lines need that line."""
    python = program(tmp_path, "python", text)

    with pytest.raises(PlatformUnavailable, match=words):
        interpreters.check(str(python), {"PATH": os.environ["PATH"]})


@pytest.mark.parametrize("version", ["0.15.13", "1.4.1"])
def test_an_interpreter_with_the_right_prefect_is_taken(tmp_path: Path, version: str) -> None:
    """Asked once, at start."""
    python = program(tmp_path, "python", f"echo {version}")

    interpreters.check(str(python), {"PATH": os.environ["PATH"]})


def test_an_interpreter_that_cannot_be_started_is_said_so(tmp_path: Path) -> None:
    """A path that is gone since start."""
    with pytest.raises(PlatformUnavailable, match="does not work"):
        interpreters.check(str(tmp_path / "gone"), {})


def test_flow_runs_inherit_an_explicit_list_only() -> None:
    """Promise P5: no key of the agent's own environment gets into a flow's process by accident."""
    kept = {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "https_proxy": "http://p", "SSL_CERT_FILE": "/c"}
    secret = {"PREFECT__CLOUD__API_KEY": "k", "AWS_SECRET_ACCESS_KEY": "s", "PYTHONPATH": "/x", "LD_PRELOAD": "/y"}

    assert interpreters.base_environment({**kept, **secret}) == kept


def test_a_fingerprint_shows_what_shapes_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal settings are equal, whatever the terminal; each setting that flows can notice makes another one."""
    environ = {"PATH": "/bin", "HOME": "/h", "TERM": "xterm", "KEY": "1"}

    def mark(
        interpreter: str | None = "/v/bin/python", paths: tuple[str, ...] = (), *, show: bool = False, **more: str
    ) -> str:
        return interpreters.fingerprint(interpreter, paths, {**environ, **more}, show=show)

    assert mark() == mark(TERM="dumb", KEY="2", PREFECT__CLOUD__API_KEY="k")
    others = [
        mark("/w/bin/python"),
        mark(None),
        mark(paths=("/x",)),
        mark(show=True),
        mark(PATH="/x"),
        mark(LC_ALL="C"),
    ]
    monkeypatch.chdir(tmp_path)
    others.append(mark())
    assert len({mark(PATH="/y"), *others}) == 8


def test_two_virtual_environments_of_one_python_differ(tmp_path: Path) -> None:
    """Both have a link to the same Python: what is installed differs. A link to the environment itself does not."""
    for name in ("one", "two"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "current").symlink_to(tmp_path / "one")

    marks = [
        interpreters.fingerprint(str(tmp_path / name / "bin" / "python"), (), {}, show=False)
        for name in ("one", "two", "current")
    ]

    assert marks[0] == marks[2] != marks[1]


def test_no_secret_is_part_of_a_fingerprint() -> None:
    """It goes into the Cloud: the password of a proxy is left out, the proxy is not."""
    marks = [
        interpreters.fingerprint("/v/bin/python", (), {"https_proxy": proxy}, show=False)
        for proxy in ("http://u:one@p:1", "http://u:two@p:1", "http://u:two@q:1")
    ]

    assert marks[0] == marks[1] != marks[2]


def test_without_a_home_units_are_kept_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose UID has no entry: in a folder that is this user's alone."""
    without_home(tmp_path, monkeypatch)

    found = places.default("~/.prefect-agent/units")

    assert found == tmp_path / f"prefect-agent-{os.getuid()}" / "units"
    assert found.parent.stat().st_mode & 0o777 == 0o700
    assert places.default("~/.prefect-agent/units") == found
    found.parent.chmod(0o777)
    with pytest.raises(ConfigurationError, match="HOME"):
        places.default("~/.prefect-agent/units")


def test_without_a_home_settings_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of a person who has no home are empty; a path that a person wrote under it is refused."""
    without_home(tmp_path, monkeypatch)

    assert Configuration.load({}).find("cloud.api_key") is None
    with pytest.raises(ConfigurationError, match="HOME"):
        places.expanded("~/modules")
    with pytest.raises(ConfigurationError, match="home"):
        parse_volume("~/data:/data")


def without_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without an entry in the list of users."""

    def no_entry(uid: int) -> object:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
