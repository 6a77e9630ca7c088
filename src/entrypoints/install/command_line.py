"""The command that a process manager starts. It never holds an API key, since every user can list processes."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

import attrs

from prefect.agent.domain.model.run_configs import frozen_mapping
from prefect.agent.domain.secrets import passwords_of

PLATFORMS: Final = {"local": "docker", "docker": "docker", "process": "process"}
"""Agents that a process manager can start: name as ``prefect agent start`` takes it -> platform."""


@attrs.frozen(kw_only=True)
class AgentCommand:
    """The command line of one agent.

    Attributes:
        program: The ``prefect`` command: a name or a path.
        words: The command: ``agent start docker``, or ``agent local start`` in the spelling of 1.x.
        agent_options: More options of the agent, as the person typed them.
    """

    program: str = "prefect"
    words: tuple[str, ...] = ("agent", "start", "docker")
    api: str | None = None
    name: str | None = None
    tenant_id: str | None = None
    agent_config_id: str | None = None
    labels: tuple[str, ...] = ()
    env: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)
    import_paths: tuple[str, ...] = ()
    interpreter: str | None = None
    show_flow_logs: bool = False
    agent_options: tuple[str, ...] = ()

    @property
    def is_in_a_home(self) -> bool:
        """Whether the program is in a home directory, which a service can read only if its unit allows that."""
        return PurePosixPath(self.program).parts[:2] in {("/", "home"), ("/", "root")}

    @property
    def platform(self) -> str:
        """The agent's platform: ``docker`` or ``process``."""
        return "docker" if self.words[-1] == "docker" else "process"

    @property
    def has_secret_address(self) -> bool:
        """Whether the address has a password; the command, which every user can see, then omits the address."""
        return bool(passwords_of(self.api or ""))

    def arguments(self) -> list[str]:
        """Return the program and its arguments."""
        single = {
            "--api": None if self.has_secret_address else self.api,
            "--name": self.name,
            "--tenant-id": self.tenant_id,
            "--agent-config-id": self.agent_config_id,
            "--interpreter": self.interpreter,
        }
        found = [self.program, *self.words]
        found += _each(*((option, value) for option, value in single.items() if value))
        found += _each(*(("--label", label) for label in self.labels))
        found += _each(*(("--env", f"{name}={value}") for name, value in self.env.items()))
        found += _each(*(("--import-path", path) for path in self.import_paths))
        found += ["--show-flow-logs"] if self.show_flow_logs else []
        return [*found, *self.agent_options]


def flat(agent: str) -> tuple[str, ...]:
    """Return the command that starts *agent*, a name that ``prefect agent start`` takes."""
    return ("agent", "start", PLATFORMS[agent])


def own_program() -> str:
    """Return the path of this installation's ``prefect`` command, which may not be on a process manager's PATH."""
    beside = Path(sys.executable).with_name("prefect")
    return str(beside) if beside.exists() else shutil.which("prefect") or "prefect"


def systemd_words(arguments: Iterable[str]) -> str:
    """Quote a command for systemd: double quotes and backslashes as in C, ``%`` and ``$`` doubled."""
    return " ".join(_systemd_word(word) for word in arguments)


def supervisor_words(arguments: Iterable[str]) -> str:
    """Quote a command for supervisor: as for a shell, ``%`` doubled, no `` ;`` or `` #``, which begin a comment."""
    return " ".join(re.sub(r"(\s)(?=[;#])", r"\1''", shlex.quote(word)).replace("%", "%%") for word in arguments)


def _each(*pairs: tuple[str, str]) -> list[str]:
    """Return options with their values, joined by ``=`` where a value begins with ``-``."""
    found: list[str] = []
    for option, value in pairs:
        found += [f"{option}={value}"] if value.startswith("-") else [option, value]
    return found


def _systemd_word(word: str) -> str:
    doubled = word.replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[-A-Za-z0-9_./:=,@%$+]+", doubled):
        return doubled
    escaped = doubled.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
