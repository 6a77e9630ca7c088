"""README and pages do what they say: a reader types their commands as they stand, with the real client."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from smoke import pythons

from support.console_pages import steps
from support.terminals import Reader, reader
from support.typed_pages import Page, excuse

ROOT: Final = Path(__file__).resolve().parents[3]
OWN: Final = Path(sys.executable).parent.parent
"""The environment of the tests, which stands for the one that the pages install."""

API: Final = "http://127.0.0.1:4200"
CLIENT: Final = {"PREFECT__BACKEND": "server", "PREFECT__SERVER__ENDPOINT": API, "PREFECT__SERVER__UI__ENDPOINT": API}
THERE: Final = {"PREFECT__CLOUD__API": API}
"""Variables of a reader who has told the commands of the agent where the Cloud is."""

FLOWS: Final = {
    "etl.py": """
from prefect import Flow, Parameter, task

@task(log_stdout=True)
def load(day, tables):
    print("loading", day, tables)

with Flow("etl") as flow:
    load(Parameter("day", default="today"), Parameter("tables", default=[]))
""",
    "daily.py": """
from prefect import Flow, Parameter

with Flow("daily") as flow:
    flow.add_task(Parameter("day", required=True))
""",
    "boxed.py": """
from prefect import Flow
from prefect.run_configs import DockerRun

with Flow("boxed", run_config=DockerRun(image="boxed:1")) as flow:
    pass
""",
    "flow.py": """
from prefect import Flow

with Flow("my-flow") as flow:
    pass
""",
    "steady.py": """
import pathlib, time
from prefect import Flow, task

@task
def go_on():
    while not pathlib.Path("~/enough").expanduser().exists():
        time.sleep(0.1)

with Flow("steady") as flow:
    go_on()
""",
}
"""Files that the reader has; each is a flow."""

CLOUD: Final = "prefect-agent server start"
AGENT: Final = "prefect-agent start process --interpreter ~/flows/bin/python"
PROJECT: Final = "~/flows/bin/prefect create project marketing"
REGISTER: Final = "~/flows/bin/prefect register --project marketing --path "
NOT_COPIED: Final = frozenset({".git", ".venv", ".venv-prefect", ".cache", ".import-root", "build", "dist"})
"""What a new checkout does not have."""

EXECUTES: Final = (
    "prefect-agent run steady --name steady",
    "until prefect-agent why steady | grep '^steady .* Running'; do :; done",
)
ENDS_WELL: Final = (
    "touch enough",
    "until prefect-agent why steady | grep '^steady .* Success'; do :; done",
)


PAGES: Final = {
    "README.md": Page(
        before=(CLOUD, AGENT, PROJECT, f"{REGISTER}etl.py", "prefect-agent run etl --name crimson-dolphin --watch"),
        variables=CLIENT | THERE,
        needs_docker=True,
    ),
    "docs/tutorial.md": Page(),
    "docs/a-cloud-of-your-own.md": Page(),
    "docs/how-to/a-run-does-not-start.md": Page(
        before=(CLOUD, PROJECT, f"{REGISTER}etl.py", "prefect-agent run etl --name crimson-dolphin --label gpu"),
        variables=CLIENT | THERE,
        needs_docker=True,
    ),
    "docs/how-to/change-keys.md": Page(
        before=(
            f"{CLOUD} --require-key",
            "umask 077; prefect-agent server create-key --name agents --scope runner > key.txt",
            f"{AGENT} --token-file key.txt",
            'export PREFECT__CLOUD__API_KEY="$(cat ~/.prefect-agent/admin-key-4200)"',
            PROJECT,
            f"{REGISTER}steady.py",
            *EXECUTES,
        ),
        between={"prefect server revoke-key": ENDS_WELL},
        after=("prefect-agent run steady --name again --watch",),
        variables={"PREFECT__BACKEND": "cloud", "PREFECT__CLOUD__ENDPOINT": API} | THERE,
    ),
    "docs/how-to/complete-commands.md": Page(),
    "docs/how-to/keep-a-cloud.md": Page(
        before=(CLOUD, AGENT, PROJECT, f"{REGISTER}steady.py", *EXECUTES),
        after=(*ENDS_WELL, "prefect-agent run steady --name again --watch"),
        variables=CLIENT | THERE,
    ),
    "docs/how-to/run-a-flow.md": Page(
        before=(
            CLOUD,
            AGENT,
            PROJECT,
            *(f"{REGISTER}etl.py --force",) * 3,
            "prefect-agent run etl --name crimson-dolphin",
        ),
        variables=CLIENT | THERE,
    ),
    "docs/reference/errors.md": Page(
        before=(
            f"{CLOUD} --require-key",
            'export PREFECT__CLOUD__API_KEY="$(cat ~/.prefect-agent/admin-key-4200)"',
            PROJECT,
            *(f"{REGISTER}{name}.py" for name in ("etl", "daily", "boxed")),
        ),
        variables={"PREFECT__BACKEND": "cloud", "PREFECT__CLOUD__ENDPOINT": API} | THERE,
    ),
    "docs/policy.md": Page(before=(CLOUD,), variables=THERE, needs_docker=True),
    "docs/how-to/move-from-the-official-agent.md": Page(before=(CLOUD,), variables=THERE, needs_docker=True),
    "docs/how-to/run-in-docker.md": Page(before=(CLOUD,), variables=THERE, needs_docker=True),
    "docs/how-to/run-several-agents.md": Page(before=(CLOUD,), variables=THERE, needs_docker=True),
}

NOT_TYPED: Final[dict[str, dict[str, str]]] = {
    "README.md": {
        "prefect agent start kubernetes": "needs a cluster: tests/contract/cluster starts it there",
        "make image": "needs an image registry: .ci/run makes the image from one that is there",
        "prefect agent install --token-file key.txt --namespace metrics --image": "needs that registry and a cluster",
        "prefect agent selftest docker": "needs a public image: test_selftest.py takes one that is there",
    },
    "docs/policy.md": {"prefect agent start kubernetes": "needs a cluster: tests/contract/attacks has one"},
    "docs/how-to/a-run-does-not-start.md": {
        "prefect agent doctor docker": "shows an engine that is not there: test_doctor.py has none either",
        "prefect agent selftest docker": "needs a public image: test_selftest.py takes one that is there",
    },
    "docs/how-to/run-a-flow.md": {
        "prefect agent render marketing/etl --platform kubernetes": "needs a cluster: test_run_and_render.py has one",
        "prefect agent start docker --label vm --policy": "its runs need images: test_run_and_render.py has the like",
    },
}
"""By page and beginning of a command: why it is not typed here."""

OTHER_PAGES: Final = {
    "docs/install-elsewhere.md": "typed by test_install_pages.py, with a root folder of its own",
    "docs/kubernetes.md": "typed by test_install_pages.py, on a control plane",
    "docs/reference.md": "shows one command of a how-to page again",
    "docs/how-to/test-with-the-fakes.md": "only installs; its examples are run by test_how_to_pages.py",
    "docs/how-to/use-a-private-authority-or-a-proxy.md": "needs a proxy and an authority: tests/contract/graphql",
}
"""Pages with commands of which none is typed here, and why."""


@contextmanager
def at_work(home: Path, page: Page) -> Generator[Reader]:
    """A reader whose home has the environments that the tutorial makes, with the files that pages speak of."""
    for name, text in FLOWS.items():
        (home / name).write_text(text, encoding="utf-8")
    (home / "key.txt").write_text("a-key-that-an-open-cloud-does-not-look-at\n", encoding="utf-8")
    (home / "key.txt").chmod(0o600)
    paths = {"own": [f"{home}/prefect-agent/bin"], "client": [f"{home}/flows/bin"]}
    with reader(home, paths, page.variables) as found:
        yield found


@pytest.mark.real_prefect
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.docker] * page.needs_docker) for name, page in PAGES.items()],
)
def test_a_page_says_what_happens(name: str, tmp_path: Path, prefect_python: Path) -> None:
    """Every command ends as it should and prints what the page shows; what stays ends well at Ctrl+C."""
    page = PAGES[name]
    (tmp_path / "prefect-agent").symlink_to(OWN)
    (tmp_path / "flows").symlink_to(prefect_python.parent.parent)
    with at_work(tmp_path, page) as person:
        page.type(
            person,
            (step for step in steps(ROOT / name) if not (step.installs or excuse(NOT_TYPED.get(name, {}), step))),
        )


ONLY_WHAT_IS_USED: Final = {"PIP_NO_COMPILE": "0"}
"""Lets pip leave compiling to the first import: half of what an installation costs. (It reads the 0 as "do not".)"""


@pytest.mark.real_prefect
@pytest.mark.parametrize("version", ["3.10", "3.13"])
def test_the_first_run_is_the_same_with_other_pythons(version: str, tmp_path: Path) -> None:
    """The tutorial, its installation as well, typed where ``python3`` is of this version."""
    page = ROOT / "docs" / "tutorial.md"
    install(page, version, tmp_path)

    with at_work(tmp_path, Page()) as person:
        for step in steps(page):
            if not step.installs:
                person.do(step)
        person.stop()

    for environment in ("prefect-agent", "flows"):
        assert (tmp_path / environment / "lib" / f"python{version}").is_dir()


def install(page: Path, version: str, home: Path) -> None:
    """Type the page's installation in a copy of the checkout, with the versions that are tested."""
    python = python_of(version)
    (home / "bin").mkdir()
    (home / "bin" / "python3").symlink_to(python)
    checkout = home / "checkout"
    shutil.copytree(ROOT, checkout, symlinks=True, ignore=lambda folder, names: set(names) & NOT_COPIED)
    tested = re.findall(r"(-r requirements/prefect-py3\d+\.txt)", page.read_text(encoding="utf-8"))
    for step in steps(page):
        if step.installs:
            command = step.command.replace("prefect==1.4.1", tested[version > "3.11"]).replace("~", str(home))
            here = {"PATH": f"{home}/bin:{os.environ['PATH']}", **ONLY_WHAT_IS_USED}
            done = subprocess.run(
                ["bash", "-c", command],
                env=os.environ | here,
                cwd=checkout,
                capture_output=True,
                text=True,
                check=False,
            )
            if "No matching distribution" in done.stderr:
                pytest.skip(f"no package index has what the tutorial installs: {done.stderr[-200:]}")
            assert done.returncode == 0, done.stderr


def python_of(version: str) -> str:
    """A Python of this version: on PATH, or made by pyenv."""
    found = pythons(version)
    if not found:
        pytest.skip(f"there is no Python {version}: install it, by pyenv for example")
    return subprocess.check_output([found[0], "-c", "import sys; print(sys.executable)"], text=True).strip()


def test_every_page_with_commands_is_typed_or_named() -> None:
    """A page that is added is typed, too; no reason is left over."""
    found = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    with_commands = {str(page.relative_to(ROOT)) for page in found if any(step.command for step in steps(page))}

    assert with_commands == PAGES.keys() | OTHER_PAGES.keys()
    assert not PAGES.keys() & OTHER_PAGES.keys()


@pytest.mark.parametrize(("page", "begin"), [(page, begin) for page, excused in NOT_TYPED.items() for begin in excused])
def test_what_is_not_typed_is_on_its_page(page: str, begin: str) -> None:
    """A command that was changed or removed needs its reason no more."""
    assert [step for step in steps(ROOT / page) if step.command.startswith(begin)]


@pytest.mark.parametrize("page", [page for page in PAGES if PAGES[page].between], ids=str)
def test_what_happens_between_commands_has_its_place(page: str) -> None:
    """Else it would be left out."""
    for begin in PAGES[page].between:
        assert [step for step in steps(ROOT / page) if step.command.startswith(begin)]


def test_the_tutorial_installs_what_it_uses() -> None:
    """The folders of its commands are the environments that it makes; the client has the version of the tests."""
    all_steps = steps(ROOT / "docs" / "tutorial.md")
    made = {shlex.split(step.command)[-1] for step in all_steps if step.installs and "-m venv" in step.command}
    used = {step.command.split("/bin/")[0] for step in all_steps if step.command.startswith("~")}
    installed = [shlex.split(step.command)[-1] for step in all_steps if "pip install" in step.command]

    assert made == used == {"~/prefect-agent", "~/flows"}
    assert installed == [".[server]", "prefect==1.4.1"]
