"""Claims without a unit are recovered in threads of their own."""

from collections.abc import Sequence
from concurrent.futures import Future, wait

import attrs

from prefect.agent.domain.errors import AgentError
from prefect.agent.domain.model.flow_runs import Claimed, FlowRun
from prefect.agent.domain.services.recovering import RecoverClaims, portions
from prefect.agent.domain.services.submission import StartFlowRun
from prefect.agent.domain.services.work_in_hand import WorkInHand
from prefect.agent.entrypoints.runtime.pools import Pools
from prefect.agent.entrypoints.runtime.supervision import Supervisor
from prefect.agent.entrypoints.runtime.wakes import Wakes


@attrs.define(kw_only=True)
class Recoveries:
    """Recoveries queue claims that a sweep found without a unit; each portion is read again when its turn comes."""

    recover_claims: RecoverClaims
    start_run: StartFlowRun
    work: WorkInHand
    pools: Pools
    supervisor: Supervisor
    wakes: Wakes

    def __call__(self, runs: Sequence[FlowRun]) -> None:
        """Queue *runs* in portions, no more of them than there is room for below the limit."""
        wanted = self.recover_claims.wanted(runs)[: max(0, self.work.room())]
        for portion in portions([run for run in wanted if self.work.adopt(run.id)]):
            try:
                self.pools.recoveries.submit(self._recover, portion)
            except RuntimeError:  # closed: a later agent's first sweep sees to them
                self._release(portion)

    def _recover(self, runs: Sequence[FlowRun]) -> None:
        restarts: list[Future[None]] = []

        def start(claimed: Claimed) -> None:
            restarts.append(self.pools.restarts.submit(self._start, claimed))

        try:
            if not self.wakes.stopping.is_set():
                self.recover_claims(runs, start)
        except AgentError as problem:
            self.supervisor.failed("recover", problem)
        except RuntimeError:  # closed
            return
        except Exception as bug:  # noqa: BLE001 - the next sweep meets it again
            self.supervisor.bug("recover", bug)
        finally:
            wait(restarts)
            self._release(runs)

    def _start(self, claimed: Claimed) -> None:
        try:
            self.start_run(claimed)
        except Exception as bug:  # noqa: BLE001 - one bad run must not spoil the recovery of others
            self.supervisor.bug("recover", bug)

    def _release(self, runs: Sequence[FlowRun]) -> None:
        for run in runs:
            self.work.release(run.id)
