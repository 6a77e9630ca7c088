"""The real agent, ours, and their flow processes with a key of the scope runner."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests

from prefect.agent.entrypoints.server.storage.keys import add_key, opened_beside
from prefect.agent.entrypoints.server.storage.scopes import RUNNER
from prefect.agent.entrypoints.server.testing import running_server
from support.real_prefect import RealPrefect
from support.waiting import wait_until

pytestmark = pytest.mark.real_prefect

HERE = Path(__file__).parent
A_WHILE = 300


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory, prefect_python: Path) -> Iterator[RealPrefect]:
    """A client with an admin's key, at a Cloud that has one."""
    home = tmp_path_factory.mktemp("home")
    key = made(home / "cloud.db")
    with running_server(home / "cloud.db") as url:
        settings = {"PREFECT__BACKEND": "cloud", "PREFECT__CLOUD__ENDPOINT": url, "PREFECT__CLOUD__API_KEY": key}
        yield RealPrefect(prefect_python, url, home, settings)


@pytest.fixture(scope="module")
def runner(admin: RealPrefect) -> RealPrefect:
    """A client with a runner's key, at the same Cloud."""
    key = made(admin.home / "cloud.db", scope=RUNNER)
    return attrs.evolve(admin, settings={**admin.settings, "PREFECT__CLOUD__API_KEY": key})


def made(path: Path, **given: str) -> str:
    """A new key."""
    with opened_beside(path) as connection:
        tenant = connection.execute("SELECT id FROM tenant").fetchone()[0]
        return add_key(connection, tenant, "k", **given)[1]


def ask(client: RealPrefect, document: str) -> dict[str, Any]:
    """Data of the answer to a question with the client's key."""
    headers = {"Authorization": f"Bearer {client.settings['PREFECT__CLOUD__API_KEY']}"}
    answer = requests.post(client.url, json={"query": document}, headers=headers, timeout=60).json()
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


@pytest.fixture(scope="module")
def flow_id(admin: RealPrefect) -> str:
    """A flow that reads a secret; only an admin registers it."""
    ask(admin, 'mutation { set_secret(input: { name: "WORD", value: "open sesame" }) { success } }')
    given = {"project": "scopes", "paths": [str(HERE / "flows" / "secretive.py")]}
    registered: str = admin.program(HERE / "programs" / "register.py", given)["secretive"]
    return registered


@pytest.mark.parametrize("own", [True, False], ids=["ours", "real"])
def test_agents_and_flows_need_no_more_than_a_runner(
    admin: RealPrefect, runner: RealPrefect, flow_id: str, *, own: bool
) -> None:
    """Claim, run, report, log and read a secret by its name, with nothing but the runner's key."""
    run = ask(admin, f'mutation {{ create_flow_run(input: {{ flow_id: "{flow_id}" }}) {{ id }} }}')["create_flow_run"]
    query = f'{{ flow_run_by_pk(id: "{run["id"]}") {{ state logs {{ message }} }} }}'
    ours = ("start", "process", "--interpreter", str(runner.python))
    with runner.agent(*(ours if own else ("local", "start", "--no-hostname-label")), own=own):
        wait_until(lambda: ask(admin, query)["flow_run_by_pk"]["state"] == "Success", A_WHILE, "the run ended")
        wait_until(lambda: "the word has 11 letters" in str(ask(admin, query)), A_WHILE, "its log")


def test_a_runner_registers_nothing(runner: RealPrefect) -> None:
    """The client says why."""
    _, printed = runner.attempt("create", "project", "mine")

    assert "may not use create_project" in printed
    assert "mine" not in str(ask(runner, "{ project { name } }"))
