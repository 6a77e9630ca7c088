"""The real client with the backend "cloud" and an API key: what it refuses to do with a Server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from prefect.agent.entrypoints.server.testing import running_server
from support.real_prefect import RealPrefect, found
from support.waiting import wait_until

pytestmark = pytest.mark.real_prefect

HERE = Path(__file__).parent
KEY = "the-key-of-the-tests"


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, prefect_python: Path) -> Iterator[RealPrefect]:
    """A client that has no key yet, against a Cloud that wants one."""
    home = tmp_path_factory.mktemp("home")
    with running_server(home / "cloud.db", keys=frozenset({KEY})) as url:
        yield RealPrefect(prefect_python, url, home, {"PREFECT__BACKEND": "cloud", "PREFECT__CLOUD__ENDPOINT": url})


@pytest.fixture(scope="module")
def keyed(real: RealPrefect) -> RealPrefect:
    """A client whose key is in its environment."""
    return attrs.evolve(real, settings={**real.settings, "PREFECT__CLOUD__API_KEY": KEY})


@pytest.fixture(scope="module")
def answers(keyed: RealPrefect) -> dict[str, Any]:
    """What programs/cloud.py found."""
    given = {"flow": str(HERE / "flows" / "secretive.py")}
    answers: dict[str, Any] = keyed.program(HERE / "programs" / "cloud.py", given)
    return answers


def test_a_key_opens_the_cloud(real: RealPrefect) -> None:
    """Without one and with a wrong one: a clear refusal; logged in, it is remembered; logged out, forgotten."""
    assert "p created" not in real.attempt("create", "project", "p")[1]
    status, printed = real.attempt("auth", "login", "--key", "wrong")
    assert status == 1
    assert "Unauthorized" in printed or "Error attempting to communicate" in printed
    assert "Logged in to Prefect Cloud tenant" in real.cli("auth", "login", "--key", KEY)
    assert "p created" in real.cli("create", "project", "p")
    tenants = real.cli("auth", "list-tenants")
    assert "default" in tenants
    real.cli("kv", "set", "from the shell", "1")
    assert "has value '1'" in real.cli("kv", "get", "from the shell")
    assert "from the shell" in real.cli("kv", "list")
    assert "deleted" in real.cli("kv", "delete", "from the shell")
    real.cli("auth", "logout", typed="y\n")
    assert "q created" not in real.attempt("create", "project", "q")[1]


def test_keys_are_made_and_revoked_by_the_command_line(real: RealPrefect) -> None:
    """`prefect auth create-key`, list-keys and revoke-key, from a home of its own."""
    other = attrs.evolve(real, home=real.home / "other")
    other.home.mkdir()
    other.cli("auth", "login", "--key", KEY)
    made = other.cli("auth", "create-key", "--name", "second", "--quiet").strip()
    listed = other.cli("auth", "list-keys")
    assert "second" in listed
    assert made not in listed
    second = attrs.evolve(real, settings={**real.settings, "PREFECT__CLOUD__API_KEY": made})
    assert "by key created" in second.cli("create", "project", "by key")
    key_id = found(r"([0-9a-f-]{36})", next(line for line in listed.splitlines() if "second" in line))
    assert "revoked" in other.cli("auth", "revoke-key", "--id", key_id).lower()
    _, printed = second.attempt("create", "project", "too late")  # the client's status is 0 even so
    assert "AuthorizationError" in printed
    assert "created" not in printed


def test_the_tenant_is_found_by_the_key(keyed: RealPrefect, answers: dict[str, Any]) -> None:
    """auth_info, and the list of tenants."""
    assert answers["tenants"] == ["default"]
    assert len(answers["tenant"]) == 36


def test_keys_and_values_are_kept(answers: dict[str, Any]) -> None:
    """Set in place of the one before, read, listed, deleted; what is missing or too large is refused."""
    names = ("set", "get", "set text", "keys", "delete")
    assert [answers[name] for name in names] == [True, {"c": 2}, True, ["a", "text"], True]
    assert answers["gone"] == "ValueError: No value found for key: a"
    assert answers["large"].startswith("ValueError")


def test_secrets_are_kept(answers: dict[str, Any]) -> None:
    """Texts and JSON; a missing one is a KeyError, which tasks look for."""
    assert (answers["secret"], answers["JSON secret"]) == (None, None)
    assert answers["read secret"] == "open sesame"
    assert answers["read JSON secret"] == {"user": "u"}
    assert answers["no secret"].startswith(("KeyError", "ValueError"))
    assert "NONE" in answers["no secret"]


def test_limits_of_tags_are_set_read_and_lifted(answers: dict[str, Any]) -> None:
    """By the client's own methods."""
    names = ("limit", "read limit", "other limit", "limits", "lifted", "after")
    assert [answers[name] for name in names] == [None, 3, None, [["narrow", 3]], None, None]


def test_a_flow_process_reads_a_secret(keyed: RealPrefect, answers: dict[str, Any]) -> None:
    """Our agent hands its key on; the value does not appear in any log."""
    with keyed.agent("start", "process", "--interpreter", str(keyed.python), "--key", KEY):
        run_id = keyed.cli("run", "--id", answers["flow"], "--quiet").split()[-1]
        printed = keyed.cli("run", "--id", answers["flow"], "--watch")
        done = keyed.cli("get", "flow-runs", "--started")
    assert run_id
    assert "Flow run succeeded" in printed
    ended = found(r"UUID: (\S+)", printed)
    wait_until(lambda: "Flow run SUCCESS" in keyed.cli("get", "logs", "--id", ended), 300, "the run's last line")
    printed += keyed.cli("get", "logs", "--id", ended)
    assert "the word has 11 letters" in printed
    assert "open sesame" not in printed
    assert "Success" in done


def test_the_real_local_agent_works_with_a_key(keyed: RealPrefect, answers: dict[str, Any]) -> None:
    """It registers and polls with the header Authorization and the tenant's."""
    run = keyed.cli("run", "--id", answers["flow"], "--quiet").split()[-1]
    with keyed.agent("local", "start", "--no-hostname-label", "--key", KEY, own=False):
        wait_until(lambda: "Flow run SUCCESS" in keyed.cli("get", "logs", "--id", run), 300, "the run's last line")


def test_tenants_are_switched(real: RealPrefect, answers: dict[str, Any]) -> None:
    """`prefect auth status` and switch-tenants: remembered at home, and back to the key's own."""
    assert answers["tenants"] == ["default"]  # asked before there is a second one
    other = attrs.evolve(real, home=real.home / "tenants")
    other.home.mkdir()
    assert "not logged in" in other.cli("auth", "status")
    other.cli("auth", "login", "--key", KEY)
    create = 'mutation { create_tenant(input: { name: "second", slug: "second" }) { id } }'
    made = other.script(f"import prefect; print(prefect.Client().graphql({create!r}).data.create_tenant.id)").strip()
    assert f"Tenant switched to {made}" in other.cli("auth", "switch-tenants", "--slug", "second")
    assert f"logged in to tenant {made}" in other.cli("auth", "status")
    assert made not in other.cli("auth", "switch-tenants", "--default")
    assert made not in other.cli("auth", "status")
