"""Attack: a run config sets variables that make the unit's wrapper fail, or execute the author's code in it.

Rule: bookkeeping never runs under the submission's environment; only the flow's command is executed with it
(``adapters/process/launcher.py``). It holds whatever shell ``/bin/sh`` is.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from prefect.agent.adapters.process import launcher
from prefect.agent.adapters.process.processes import MARK
from prefect.agent.domain.model.units import UnitStatus
from support.process_harness import ProcessHarness, over
from support.waiting import wait_until

SHELLS: Final = {"sh": "/bin/sh", "dash": "dash", "bash": "bash", "busybox": "busybox"}

EVIL: Final = "() { : > {here}/executed; exit 9; }"
BUILTINS: Final = ("mv", "printf", "read", "exec", "command", "export", "exit", "shift", "trap", "umask", "ulimit", "[")

HOSTILE: Final[dict[str, dict[str, str]]] = {
    "no programs": {"PATH": "/nonexistent"},
    "empty path": {"PATH": ""},
    "functions of bash": {f"BASH_FUNC_{name}%%": EVIL for name in BUILTINS},
    "functions of an old bash": dict.fromkeys(("mv", "printf", "read", "x.y", "a-b"), EVIL),
    "start files": {"ENV": "{here}/rc", "BASH_ENV": "{here}/rc", "PYTHONSTARTUP": "{here}/rc", "HOME": "{here}"},
    "prompts": dict.fromkeys(("PS1", "PS4", "PROMPT_COMMAND"), "$(: > {here}/executed)"),
    "separators": {"IFS": "/abcdefghijklmnopqrstuvwxyz0123456789 \n", "OLDPWD": "x", "CDPATH": "{here}"},
    "options": {"SHELLOPTS": "noexec:xtrace", "BASHOPTS": "x", "POSIXLY_CORRECT": "1", "BASH_COMPAT": "2"},
    "loader": {"LD_PRELOAD": "/nonexistent.so", "LD_AUDIT": "/nonexistent.so", "LD_LIBRARY_PATH": "{here}"},
    "languages": {"LC_ALL": "x" * 300, "LANG": "../../etc/passwd", "TZ": ":/dev/zero", "NLSPATH": "{here}"},
    "python": {"PYTHONHOME": "/nonexistent", "PYTHONPATH": "{here}", "PYTHONINSPECT": "1"},
    "the wrapper's words": {"unit": "/x", "code": "9", "began": "", "pid": "1", "rest": "x"},
    "names of the agent": {launcher.ABOUT: "{}", MARK: "x"},
    "descriptors": {"BASH_XTRACEFD": "1", "TMOUT": "1", "HISTFILE": "{here}/executed"},
}  # fmt: skip


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[ProcessHarness]:
    """See :class:`ProcessHarness`. All that was started is ended."""
    harness = ProcessHarness(tmp_path)
    yield harness
    harness.clean()


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``/bin/sh`` is, on the machines of this world."""
    found = shutil.which(SHELLS[request.param])
    if found is None:
        pytest.skip(f"there is no {request.param} here")
    (tmp_path / "shells").mkdir()
    link = tmp_path / "shells" / "sh"
    link.symlink_to(found)
    monkeypatch.setattr(launcher, "SHELL", str(link))
    return str(request.param)


@pytest.mark.parametrize("env", HOSTILE.values(), ids=HOSTILE)
def test_no_variable_reaches_the_bookkeeping(harness: ProcessHarness, shell: str, env: dict[str, str]) -> None:
    """The unit begins once, nothing of the author's executes in the wrapper, and the exit code is kept."""
    (harness.folder / "rc").write_text(f": > {harness.folder}/executed\n", encoding="ascii")
    env = {name: value.replace("{here}", str(harness.folder)) for name, value in env.items()}
    agent = harness.agent()
    # Not a shell: it would do what the environment says, as it may. Isolated, as PYTHONHOME would end it.
    code = f"import os; open({str(harness.folder / 'began')!r}, 'a').write('x'); os._exit(3)"
    submission = harness.submission(sys.executable, "-I", "-S", "-c", code, env=env)

    unit = agent.create(submission)

    assert unit.id
    ended = over(agent, submission.name)
    assert ended.evidence is not None
    assert (ended.status, ended.evidence.exit_code) == (UnitStatus.FAILED, 3)
    assert (harness.folder / "began").read_text(encoding="ascii") == "x"
    assert not (harness.folder / "executed").exists()


def test_the_wrapper_has_an_environment_of_its_own(harness: ProcessHarness, shell: str) -> None:
    """The mark, and what the directory says; the command has the submission's, and the same mark."""
    submission = harness.submission(
        sys.executable, "-I", "-S", "-c", f"open({str(harness.folder / 'there')!r}, 'w'); import time; time.sleep(600)",
        env={"SECRET": "s3cr3t", "PATH": "/x", MARK: "other"},
    )  # fmt: skip

    unit = harness.agent().create(submission)

    wait_until((harness.folder / "there").exists, 60)
    wrapper = Path(f"/proc/{unit.id}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1]
    own, given = variables(wrapper), variables(unit.id)
    assert set(own) == {MARK, launcher.ABOUT}
    assert own[MARK] == given[MARK] == submission.name
    assert (given["SECRET"], given["PATH"]) == ("s3cr3t", "/x")
    assert launcher.ABOUT not in given


def variables(pid: str) -> dict[str, str]:
    """The environment that a process was started with."""
    pairs = (word.partition(b"=") for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if word)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
