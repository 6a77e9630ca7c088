"""Submissions of new flow runs for the platform contract: the part that all harnesses share."""

import shlex
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

import attrs

from prefect.agent.domain.model.flow_runs import FlowRunId, SimpleAttempt
from prefect.agent.domain.model.run_configs import RunConfig, UniversalRun
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import unit_name

PAD: Final = 2000


@attrs.frozen
class Wish:
    """What a unit is to do."""

    exit_code: int | None
    prints: str
    padding: int
    stubborn: bool
    detaches: bool = False


@attrs.define
class Submissions:
    """Gives submissions of new flow runs out; the part that all harnesses share."""

    stack: ExitStack
    wishes: dict[str, Wish] = attrs.field(factory=dict)

    def submission(
        self,
        *,
        exit_code: int | None = None,
        prints: str = "",
        padding: int = 0,
        stubborn: bool = False,
        detaches: bool = False,
        env: Mapping[str, str] | None = None,
        secret_env: Mapping[str, str] | None = None,
    ) -> Submission:
        """A submission of a new flow run."""
        run_id = FlowRunId(str(uuid.uuid4()))
        name = unit_name(run_id, SimpleAttempt("1"))
        self.wishes[name] = Wish(exit_code, prints, padding, stubborn, detaches)
        return Submission(
            name=name,
            flow_run_id=run_id,
            attempt="1",
            command=("/bin/sh", "-c", self.script(name)),
            image=self.image,
            env=env or {},
            secret_env=secret_env or {},
            run_config=self.run_config,
        )

    def is_own(self, name: str) -> bool:
        """Whether it was given out here."""
        return name in self.wishes

    @property
    def image(self) -> str | None:
        """What the units run in."""
        return None

    @property
    def run_config(self) -> RunConfig:
        """What the runs ask of the platform."""
        return UniversalRun()

    @staticmethod
    def record(_name: str) -> str:
        """Shell words by which a unit leaves a trace of its start."""
        return ":"

    def child_trace(self, name: str) -> str:
        """File in which the child of a unit that detaches leaves its process id."""
        return f"/{name}.child"

    def detach(self, name: str, after: str) -> str:
        """Shell words that start a child in a session of its own, without descriptors.

        It leaves its trace once the process *after* has ended; at once if that is empty.
        """
        waits = f"while kill -0 {after or '-'}; do sleep 0.01; done"
        child = f"{waits}; echo \\$\\$ > {shlex.quote(self.child_trace(name))}; exec sleep 600"
        return f'setsid /bin/sh -c "{child}" <&- >&- 2>&- &'

    def script(self, name: str) -> str:
        """What a unit executes."""
        wish = self.wishes[name]
        lines = ["trap '' TERM" if wish.stubborn else "trap 'exit 0' TERM", self.record(name)]
        if wish.padding:
            lines.append(f"i=0; while [ $i -lt {wish.padding} ]; do printf '%0{PAD}d\\n' 0; i=$((i+1)); done")
        if wish.prints:
            lines.append(f"printf '%s\\n' {shlex.quote(wish.prints)}")
        if wish.detaches:
            lines.append(self.detach(name, "$$" if wish.exit_code is not None else ""))
        if wish.exit_code is not None:
            lines.append(f"exit {wish.exit_code}")
        lines.append("while :; do sleep 1; done" if wish.stubborn else "sleep 600 & wait $!")
        return "\n".join(lines)
