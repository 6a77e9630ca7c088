"""In which order, and by which worker of pytest-xdist, the files of the tests are executed."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # it has no types
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

ROOT: Final = Path(__file__).resolve().parents[2]
NEEDS_CONTROL_PLANE: Final = re.compile(r"\bmark\.kubernetes\b|\b(?:control_plane|kubelet|fault_proxy): ")
SECONDS: Final[dict[str, int]] = {
    "tests/contract/real_client/test_pages_as_typed.py": 340,
    "tests/contract/browser/test_real_pages.py": 240,
    "tests/contract/browser/test_real_agent_page.py": 130,
    "tests/contract/cli/test_story.py": 130,
    "tests/contract/cli/test_command_line.py": 120,
    "tests/contract/cluster/test_cluster.py": 120,
    "tests/contract/attacks/test_pages_texts.py": 100,
    "tests/contract/server/test_everyday_mistakes.py": 100,
    "tests/contract/test_how_to_pages.py": 100,
    "tests/contract/attacks/test_pages_forms.py": 90,
    "tests/contract/server/test_start.py": 90,
    "tests/contract/browser/test_every_page.py": 80,
    "tests/contract/browser/test_real_details.py": 70,
    "tests/contract/kubernetes/test_platform.py": 70,
    "tests/contract/ports/test_cloud_api.py": 70,
    "tests/contract/server/test_fuzz_literals.py": 70,
    "tests/chaos/test_explorer.py": 60,
    "tests/chaos/test_lives.py": 60,
    "tests/chaos/test_machine.py": 60,
    "tests/chaos/test_real_kills.py": 60,
    "tests/contract/attacks/test_pages_links.py": 60,
    "tests/contract/cli/test_doctor.py": 60,
    "tests/contract/docker/test_credentials.py": 60,
    "tests/contract/ports/test_cloud_loose.py": 60,
    "tests/contract/real_client/test_real_agents.py": 60,
    "tests/contract/real_client/test_real_flows.py": 60,
    "tests/contract/real_client/test_real_rescue.py": 60,
    "tests/contract/server/test_files.py": 60,
    "tests/contract/kubernetes/test_simulated_kubelet.py": 50,
    "tests/contract/real_client/test_real_command_line.py": 50,
    "tests/contract/real_client/test_real_schedules.py": 50,
    "tests/contract/server/test_fuzz.py": 50,
    "tests/contract/attacks/test_pages_streams.py": 40,
    "tests/contract/attacks/test_policy_kubernetes.py": 40,
    "tests/contract/attacks/test_secrets_memory.py": 40,
    "tests/contract/browser/test_new_user.py": 40,
    "tests/contract/browser/test_page_changes.py": 40,
    "tests/contract/browser/test_page_details.py": 40,
    "tests/contract/cli/test_image.py": 40,
    "tests/contract/cli/test_limit.py": 40,
    "tests/contract/cli/test_run_and_render.py": 40,
    "tests/contract/cli/test_signals.py": 40,
    "tests/contract/kubernetes/test_faults.py": 40,
    "tests/contract/kubernetes/test_watches.py": 40,
    "tests/contract/ports/test_execution_platform.py": 40,
    "tests/contract/real_client/test_real_cloud.py": 40,
    "tests/contract/real_client/test_real_limits.py": 40,
    "tests/contract/real_client/test_real_prefect.py": 40,
    "tests/contract/real_client/test_real_scopes.py": 40,
    "tests/contract/server/test_durability.py": 40,
    "tests/unit/test_docs.py": 40,
    "tests/contract/cli/test_completion.py": 30,
    "tests/contract/cli/test_doctor_conditions.py": 30,
    "tests/contract/cli/test_install.py": 30,
    "tests/contract/cli/test_running.py": 30,
    "tests/contract/cli/test_selftest.py": 30,
    "tests/contract/cli/test_why_agents.py": 30,
    "tests/contract/cli/test_wrong_words.py": 30,
    "tests/contract/docker/test_merging.py": 30,
    "tests/contract/docker/test_platform_extra.py": 30,
    "tests/contract/docker/test_why.py": 30,
    "tests/contract/kubernetes/test_refusals.py": 30,
    "tests/contract/docker/test_logins.py": 20,
    "tests/contract/graphql/test_hostile.py": 20,
    "tests/contract/kubernetes/test_lives.py": 20,
    "tests/contract/kubernetes/test_permissions.py": 20,
    "tests/contract/kubernetes/test_trust.py": 20,
    "tests/contract/ports/test_recovery.py": 20,
    "tests/contract/server/test_services.py": 20,
    "tests/contract/server/test_speed_plans.py": 20,
    "tests/unit/entrypoints/library/test_selftest.py": 20,
}
"""About what whole files take on two busy cores; for tests/chaos, cluster and real_client that is judged, not measured.

Those below 15 seconds are left out and follow, by their number of tests.
"""


@cache
def needs_control_plane(file: str) -> bool:
    """Whether tests of that file, relative to the repository, ask for the Kubernetes control plane."""
    try:
        text = (ROOT / file).read_text(encoding="utf-8")
    except OSError:
        return False
    return NEEDS_CONTROL_PLANE.search(text) is not None


def longest_first(files: dict[str, int]) -> list[str]:
    """The files in the order in which to begin them, so that no long one is left for the end.

    Args:
        files: How many tests each has.
    """
    return sorted(files, key=lambda file: (-SECONDS.get(file, 0), -files[file], file))


def next_file(waiting: Iterable[str], *, has_plane: bool, is_plane_elsewhere: bool) -> str:
    """What a worker takes next of the files that wait, which come in their order.

    A control plane takes seconds to start and a fifth of a core for as long as its worker lives. So the worker that has
    one takes all that need it, and another worker takes one of those only when nothing else is left.
    """
    files = list(waiting)
    wanted = has_plane or not is_plane_elsewhere
    return next((file for file in files if needs_control_plane(file) == wanted), files[0])


class FileSchedule(LoadFileScheduling):  # type: ignore[misc]
    """As ``--dist loadfile``, in the order of :func:`longest_first` and with the choice of :func:`next_file`."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give the worker what it takes next: what the base class takes from the front."""
        having = {
            worker for worker, units in self.assigned_work.items() if any(needs_control_plane(file) for file in units)
        }
        order = longest_first({file: len(tests) for file, tests in self.workqueue.items()})
        chosen = next_file(order, has_plane=node in having, is_plane_elsewhere=bool(having - {node}))
        self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)


def make(config: pytest.Config, log: object) -> FileSchedule | None:
    """The schedule, where ``--dist loadfile`` asks for one that keeps files together; *log* is what xdist says."""
    return FileSchedule(config, log) if config.getoption("dist") == "loadfile" else None
