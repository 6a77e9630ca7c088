"""What the tests need of their machine: found once per session, or said to be missing in one line.

``PREFECT_AGENT_REQUIRE=docker,real_prefect`` turns a missing thing into the failure of the whole session.
"""

import gc
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import pytest

from support import attack_table, loggers

if TYPE_CHECKING:
    from support.kubernetes.control_plane import ControlPlane
    from support.kubernetes.kubelet import ProcessKubelet
    from support.kubernetes.proxy import FaultProxy

ROOT: Final = Path(__file__).resolve().parent.parent
HOST_IMAGE: Final = ROOT / "tools" / "host_image.py"
LAB_PREFECT: Final = "lab/prefect:1.4.1"
LAB_SMALL: Final = "lab/busybox:latest"
KUBERNETES_PROGRAMS: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")

CHROMIUMS: Final = ("chromium", "chromium-browser", "google-chrome")

Found = TypeVar("Found")


class Missing(Exception):
    """Something that a test needs is not there; the text says how to get it."""


# --- what may be missing ---


@cache
def _prefect_python() -> Path:
    """A Python with the real Prefect 1.4.1."""
    given = os.environ.get("PREFECT_AGENT_TEST_PREFECT")
    path = Path(given) if given else ROOT / ".venv-prefect" / "bin" / "python"
    cure = "run `make dev-prefect`, or name one in PREFECT_AGENT_TEST_PREFECT"
    if not path.exists():
        raise Missing(f"there is no Python with Prefect 1.4.1 at {path}: {cure}")
    ask = "import importlib.metadata as m; print(m.version('prefect'))"
    done = subprocess.run([path, "-c", ask], capture_output=True, text=True, timeout=60, check=False)
    if done.stdout.strip() != "1.4.1":
        raise Missing(f"{path} has no Prefect 1.4.1 (but {done.stdout.strip() or 'none at all'}): {cure}")
    return path


@cache
def _docker_images() -> frozenset[str]:
    """The tags that the Docker engine has, if one answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the SDK leaves the socket open if it may not connect
        answer = _ask_docker()
        gc.collect()
    if isinstance(answer, str):
        raise Missing(answer)
    return answer


def _ask_docker() -> frozenset[str] | str:
    """Tags, or why there are none; no exception, whose frames would keep the socket."""
    import docker  # noqa: PLC0415 - only tests that need it pay for it

    try:
        client = docker.from_env(timeout=60)
    except docker.errors.DockerException as problem:
        return f"no Docker engine answers: start one or set DOCKER_HOST ({problem})"
    try:
        return frozenset(tag for image in client.api.images() for tag in image.get("RepoTags") or ())
    except (docker.errors.DockerException, OSError) as problem:
        return f"the Docker engine does not answer: {problem}"
    finally:
        client.close()


@cache
def _kubernetes() -> Path:
    """The folder with the programs of a control plane."""
    given = os.environ.get("KUBEBUILDER_ASSETS")
    lacking = [each for each in KUBERNETES_PROGRAMS if not (given and os.access(Path(given, each), os.X_OK))]
    if not given or lacking:
        where = f"{given} has no {', '.join(lacking)}" if given else "KUBEBUILDER_ASSETS is not set"
        raise Missing(
            f"{where}: name a folder with {', '.join(KUBERNETES_PROGRAMS)} in it"
            " (`setup-envtest use -p path` gives the first two, https://dl.k8s.io the others of the same version)"
        )
    if shutil.which("openssl") is None:
        raise Missing("there is no program openssl, which makes the certificates: install it")
    return Path(given)


@cache
def _browser() -> Path:
    """A Chromium that Playwright can drive."""
    given = os.environ.get("PREFECT_AGENT_TEST_BROWSER")
    found = given or next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if not found or not os.access(found, os.X_OK):
        lacking = f"{found} cannot be executed" if found else f"there is no {' or '.join(CHROMIUMS)}"
        raise Missing(f"{lacking}: `apt-get install chromium`, or name one in PREFECT_AGENT_TEST_BROWSER")
    if find_spec("playwright") is None:
        raise Missing("there is no Playwright: `make dev` installs it")
    return Path(found)


def _cluster() -> Path:
    """The kubeconfig of a cluster with a node, on which tests may make and delete things."""
    given = os.environ.get("KUBECONFIG")
    if os.environ.get("PREFECT_AGENT_TEST_CLUSTER") != "1" or not given or not Path(given).exists():
        raise Missing(
            "set KUBECONFIG to the file of a cluster whose nodes run pods, and PREFECT_AGENT_TEST_CLUSTER=1 to let"
            " tests use it"
        )
    return Path(given)


def _image(kind: str, lab: str, *arguments: str | Path) -> str:
    """An image on the engine: the person's, the lab's, or one made of what this machine has."""
    given = os.environ.get("PREFECT_AGENT_TEST_IMAGE") if kind == "prefect" else None
    if given or lab in _docker_images():
        return given or lab
    made = subprocess.run(
        [sys.executable, HOST_IMAGE, kind, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    if made.returncode:
        raise Missing(f"no {kind} image, and none could be made: {made.stderr.strip()}")
    return made.stdout.strip()


NEEDS: Final[dict[str, Callable[[], object]]] = {
    "browser": _browser,
    "docker": _docker_images,
    "cluster": _cluster,
    "kubernetes": _kubernetes,
    "real_prefect": _prefect_python,
}
"""By marker: what to call; it raises :class:`Missing`."""


# --- fixtures ---


@pytest.fixture(autouse=True)
def _no_log_of_an_earlier_test() -> None:
    """Begin without a log that an earlier test of this process has set up."""
    loggers.reset()


@pytest.fixture(scope="session")
def prefect_python() -> Path:
    """A Python with the real Prefect 1.4.1, never this one."""
    return _found("real_prefect", _prefect_python)


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """A Chromium, or a browser like it."""
    return _found("browser", _browser)


@pytest.fixture(scope="session")
def flow_image() -> str:
    """An image in which ``prefect execute flow-run`` works."""

    def image() -> str:
        if os.environ.get("PREFECT_AGENT_TEST_IMAGE") or LAB_PREFECT in _docker_images():
            return _image("prefect", LAB_PREFECT)
        return _image("prefect", LAB_PREFECT, "--python", _prefect_python())

    return _found("docker", image)


@pytest.fixture(scope="session")
def small_image() -> str:
    """A tiny image with a shell and a few programs; no Python, no Prefect."""
    return _found("docker", lambda: _image("small", LAB_SMALL))


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator["ControlPlane"]:
    """A real Kubernetes without a node; one for all tests, which takes seconds to start and 0.8 GB."""
    assets = _found("kubernetes", _kubernetes)
    from support.kubernetes.control_plane import ControlPlane  # noqa: PLC0415 - only tests that need it pay for it

    with closing(ControlPlane(assets, tmp_path_factory.mktemp("control-plane"))) as plane:
        plane.start()
        yield plane


@pytest.fixture(scope="session")
def kubelet(control_plane: "ControlPlane", tmp_path_factory: pytest.TempPathFactory) -> Iterator["ProcessKubelet"]:
    """A node whose pods are processes, or end as their annotation says; from the first test on that asks for it."""
    from support.kubernetes.kubelet import ProcessKubelet  # noqa: PLC0415

    with closing(ProcessKubelet(control_plane, tmp_path_factory.mktemp("kubelet"))) as kubelet:
        kubelet.start()
        yield kubelet


@pytest.fixture
def fault_proxy(control_plane: "ControlPlane") -> Iterator["FaultProxy"]:
    """A way to the control plane that fails as the test wants."""
    from support.kubernetes.proxy import FaultProxy  # noqa: PLC0415

    with closing(FaultProxy(control_plane)) as proxy:
        yield proxy


@pytest.fixture
def namespace(control_plane: "ControlPlane") -> Iterator[str]:
    """A new namespace on the control plane; what is executed there is deleted."""
    name = control_plane.api.new_namespace()
    yield name
    control_plane.api.clear(name)


def _found(marker: str, look: Callable[[], Found]) -> Found:
    try:
        return look()
    except Missing as missing:
        if marker in _required():
            pytest.fail(f"{marker}: {missing}", pytrace=False)
        pytest.skip(f"{marker}: {missing}")


# --- skipping, and refusing to ---


def _required() -> set[str]:
    return {name.strip() for name in os.environ.get("PREFECT_AGENT_REQUIRE", "").split(",") if name.strip()}


@cache
def _missing(marker: str) -> str | None:
    try:
        NEEDS[marker]()
    except Missing as missing:
        return f"{marker}: {missing}"
    return None


def pytest_addoption(parser: pytest.Parser) -> None:
    """For whoever looks for races."""
    parser.addoption(
        "--stalls", type=float, default=0.0, help="chance of stalls between threads: tests/support/stalls.py"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach what tests start, and this process stall, if that is asked for."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of a shell's background job; children would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    chance: float = config.getoption("--stalls")
    if chance:
        from support.stalls import install  # noqa: PLC0415

        patch = pytest.MonkeyPatch()
        config.add_cleanup(patch.undo)
        install(patch, chance)


def pytest_collection_finish(session: pytest.Session) -> None:
    """End the session if something that is required is missing."""
    unknown = _required() - NEEDS.keys()
    if unknown:
        raise pytest.UsageError(f"PREFECT_AGENT_REQUIRE knows {', '.join(NEEDS)}, not {', '.join(sorted(unknown))}")
    for marker in sorted(_required()):
        needed = any(item.get_closest_marker(marker) for item in session.items)
        reason = _missing(marker) if needed and not session.config.option.collectonly else None
        if reason:
            raise pytest.UsageError(f"required, but missing - {reason}")
    gc.collect()
    gc.freeze()  # twelve thousand tests stay until the end: looking for garbage among them is a tenth of all work


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip here, at one place for all tests, so that each missing thing is one line of the summary."""
    attack_table.name_attack(item)
    for marker in NEEDS:
        reason = _missing(marker) if item.get_closest_marker(marker) else None
        if reason:
            pytest.skip(reason)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what came of attacks; of those in other processes, too."""
    attack_table.note(report)


# --- the order, where several processes run the tests ---


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object | None:
    """Begin long files first, and keep those that need a control plane with one worker."""
    from support import schedule  # noqa: PLC0415 - only the process that deals out the tests needs pytest-xdist

    return schedule.make(config, log)


# --- coverage, so that pytest's own summary stays the last line ---


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Keep what a process has measured that runs tests for another one: it is ended without notice."""
    if "coverage" in sys.modules and hasattr(session.config, "workerinput"):
        from coverage import Coverage  # noqa: PLC0415

        running = Coverage.current()
        if running is not None:
            running.stop()
            running.save()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Print the coverage of ``coverage run -m pytest``, that of child processes included, before the closing line."""
    yield
    attack_table.write(terminalreporter)
    if "coverage" not in sys.modules:
        return
    from coverage import Coverage  # noqa: PLC0415
    from coverage.exceptions import CoverageWarning  # noqa: PLC0415

    running = Coverage.current()
    if running is None:
        return
    total = Coverage()
    with warnings.catch_warnings():
        # A child that a test has killed may leave a file that it had only begun: that is one child's coverage less. And
        # a process whose tests all run in others has measured nothing.
        warnings.simplefilter("ignore", CoverageWarning)
        running.stop()
        running.save()
        total.combine()
    table = StringIO()
    total.report(file=table)
    terminalreporter.section("coverage")
    terminalreporter.write(table.getvalue())
