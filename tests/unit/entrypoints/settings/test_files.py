"""A file that a person names takes the place of those of 1.x, and its table [agent] stands for our variables."""

import json
from pathlib import Path
from typing import Any

import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.library.agent import Agent
from prefect.agent.entrypoints.library.kinds import DockerAgent, KubernetesAgent, ProcessAgent
from prefect.agent.entrypoints.settings.bounds import BOUNDS, Bound
from prefect.agent.entrypoints.settings.configuration import Configuration, connection
from prefect.agent.entrypoints.settings.names import SETTINGS


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the files of 1.x, and a file of its own beside them."""
    folder = tmp_path / ".prefect"
    folder.mkdir()
    (folder / "config.toml").write_text('[cloud.agent]\nname = "of 1.x"\n[agent]\nlimit = 1\n')
    (folder / "backend.toml").write_text('backend = "server"\n')
    (folder / "auth.toml").write_text('["api.prefect.io"]\napi_key = "pcu_stored"\n')
    (tmp_path / "own.toml").write_text('[cloud.agent]\nlabels = ["own"]\n[agent]\nmax_lateness = 7\n')
    return tmp_path


def names(found: Configuration) -> tuple[str | None, Any, str | None]:
    """Name, labels and backend."""
    return found.text("cloud.agent.name"), found.find("cloud.agent.labels"), found.text("backend")


def test_a_named_file_replaces_both_files_of_1x_and_no_login(home: Path) -> None:
    """By option or by variable, of which the option wins; the 1.x client's login is no setting."""
    plain, path = {"HOME": str(home)}, str(home / "own.toml")
    by_option = Configuration.load({**plain, "PREFECT_AGENT_CONFIG": "/nowhere"}, path)
    by_variable = Configuration.load({**plain, "PREFECT_AGENT_CONFIG": path})

    assert names(Configuration.load(plain)) == ("of 1.x", None, "server")
    assert names(by_option) == names(by_variable) == (None, ["own"], None)
    assert connection(by_option).key == "pcu_stored"


@pytest.mark.parametrize("source", ["--config", "PREFECT_AGENT_CONFIG"])
def test_a_named_file_that_is_not_there_is_an_error_with_its_source(home: Path, source: str) -> None:
    """Unlike a file of 1.x: a mistyped path would start an agent with other settings."""
    path = str(home / "own.tml")
    environ = {"HOME": str(home), **({"PREFECT_AGENT_CONFIG": path} if source != "--config" else {})}
    with pytest.raises(ConfigurationError, match=r"there is no file .*own\.tml, which " + source):
        Configuration.load(environ, path if source == "--config" else None)


@pytest.mark.parametrize("lines", ["\n", "\r\n"])
def test_a_file_may_be_a_mebibyte_long(home: Path, lines: str) -> None:
    """More is no file of settings; a device would be read until the memory is full."""
    path = home / "own.toml"
    settings = f'[cloud.agent]{lines}name = "a"{lines}'
    path.write_bytes(settings.encode() + b"#" * (1024 * 1024 - len(settings)))
    assert names(Configuration.load({"HOME": str(home)}, str(path)))[0] == "a"

    path.write_bytes(path.read_bytes() + b"#")
    with pytest.raises(ConfigurationError, match=r"own\.toml is larger than 1 MiB"):
        Configuration.load({"HOME": str(home)}, str(path))
    with pytest.raises(ConfigurationError, match="/dev/zero is larger than 1 MiB"):
        Configuration.load({"HOME": str(home)}, "/dev/zero")


def test_a_home_in_the_path_is_replaced(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service has no shell that does it."""
    monkeypatch.setenv("HOME", str(home))

    assert names(Configuration.load({"HOME": str(home)}, "~/own.toml")) == (None, ["own"], None)


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: bound.name)
def test_each_number_has_one_precedence(tmp_path: Path, bound: Bound) -> None:
    """Option, environment, file, default: the first that is set wins. An empty variable sets nothing."""
    path = tmp_path / "own.toml"
    path.write_text(f"[agent]\n{bound.variable.removeprefix('PREFECT_AGENT_').lower()} = 3\n")
    argument = bound.argument or bound.name
    has_argument = argument != "stall_patience"

    def value(*, given: bool, said: str | None, filed: bool) -> Any:
        environ = {"HOME": str(tmp_path), **({"PREFECT_AGENT_CONFIG": str(path)} if filed else {})}
        environ |= {} if said is None else {bound.variable: said}
        more: dict[str, Any] = {argument: 1} if given else {}
        agent = Agent(cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), environ=environ, **more)
        return getattr(agent.options.settings, bound.name)

    if has_argument:
        assert value(given=True, said="2", filed=True) == 1
    assert value(given=False, said="2", filed=True) == 2
    assert value(given=False, said=" ", filed=True) == 3
    assert value(given=False, said=None, filed=True) == 3
    assert value(given=False, said=None, filed=False) == getattr(AgentSettings(), bound.name)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("limit = 'many'", "the setting agent.limit (in {path}) is 'many'; give a number"),
        ("limit = 0", "the setting agent.limit (in {path}) is '0'; give a whole number, at least 1"),
        ("limit = true", "the setting agent.limit (in {path}) is 'true'; give a number"),
        ("limit = [1]", "the setting agent.limit (in {path}) must be one text, not a list"),
        ("strict = 'perhaps'", "the setting agent.strict (in {path}) is 'perhaps'; give true or false"),
        (
            "without = {{ a = 1 }}",
            "the setting agent.without (in {path}) must be a list such as ['a', 'b'], not a table",
        ),
        ("policy = ['open']", "the setting agent.policy (in {path}) must be one text, not a list"),
    ],
)
def test_a_value_of_a_wrong_type_is_an_error_with_setting_and_file(tmp_path: Path, line: str, said: str) -> None:
    """People look for it where it stands."""
    path = tmp_path / "own.toml"
    path.write_text(f"[agent]\n{line.format()}\n")
    with pytest.raises(ConfigurationError) as refused:
        Agent(cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), environ={"PREFECT_AGENT_CONFIG": str(path)})

    assert str(refused.value) == said.format(path=path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[cloud]\nsend_flow_run_logs = "perhaps"', "cloud.send_flow_run_logs"),
        ('[logging]\nlevel = "LOUD"', "logging.level"),
        ('[server]\nport = "http"', "server.port"),
        ("[cloud.agent]\nlabels = { a = 1 }", "cloud.agent.labels"),
        ("[cloud.agent]\nenv_vars = 3", "cloud.agent.env_vars"),
        ("[cloud]\ntenant_id = [1]", "cloud.tenant_id"),
        ("agent = 3", "agent in"),
    ],
)
def test_a_value_of_1x_of_a_wrong_type_is_an_error_also_if_it_is_not_used(tmp_path: Path, text: str, said: str) -> None:
    """With its name and its file: an agent with a Cloud of its own uses none of these."""
    path = tmp_path / "own.toml"
    path.write_text(f"{text}\n")
    with pytest.raises(ConfigurationError) as refused:
        Agent(cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), environ={"PREFECT_AGENT_CONFIG": str(path)})

    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_tenant_that_is_no_uuid_is_named_with_its_place(home: Path) -> None:
    """The same text may stand in three places."""
    environ = {"HOME": str(home), "PREFECT__CLOUD__TENANT_ID": "mine"}
    with pytest.raises(ConfigurationError, match="PREFECT__CLOUD__TENANT_ID"):
        connection(Configuration.load(environ))


def test_platform_options_and_lists_come_from_the_table(tmp_path: Path) -> None:
    """Each agent reads its own, also if a program makes it without a command line."""
    path = tmp_path / "own.toml"
    path.write_text(
        '[agent]\nreg_allow_list = ["a", "b"]\ninterpreter = "/py"\noutput_limit = 5\ncluster_wide = true\n'
        'without = ["logs"]\nstate_directory = "/state"\nflow_run_key = "pak_flow"\n'
    )
    environ = {"PREFECT_AGENT_CONFIG": str(path), "PREFECT__CLOUD__API_KEY": "pak_agent"}

    docker = DockerAgent(environ=environ).options
    assert docker.platform_options["reg_allow_list"] == ["a", "b"]
    assert docker.state_directory == "/state"
    assert docker.connection is not None
    assert docker.connection.flow_run_key == "pak_flow"
    assert docker.mask("pak_flow") != "pak_flow"
    process = ProcessAgent(environ=environ).options.platform_options
    assert (process["interpreter"], process["output_limit"]) == ("/py", 5)
    kubernetes = KubernetesAgent(environ=environ).options.platform_options
    assert (kubernetes["cluster_wide"], kubernetes["without"]) == (True, ["logs"])


def test_the_environment_wins_over_the_table_for_every_own_setting(tmp_path: Path) -> None:
    """And the file is what is left if it says nothing."""
    texts = {"number": "5", "flag": "true"}
    own = [each for each in SETTINGS if each.name.isupper() and each.in_file]
    path = tmp_path / "own.toml"
    lines = (f"{each.key.partition('.')[2]} = {json.dumps(texts.get(each.kind, 'filed'))}" for each in own)
    path.write_text("\n".join(["[agent]", *lines]))
    said = {each.name: texts.get(each.kind, "said") for each in own}

    filed = Configuration.load({"PREFECT_AGENT_CONFIG": str(path)})
    both = Configuration.load({"PREFECT_AGENT_CONFIG": str(path), **said})

    assert filed.filed == {each.name for each in own}
    assert not both.filed
    assert {name: both.environ[name] for name in said} == said


@pytest.mark.parametrize(("interval", "first", "ahead"), [(0.1, 0.1, 10), (5, 0.25, 10), (60, 0.25, 60)])
def test_runs_are_asked_for_before_the_next_poll(interval: float, first: float, ahead: float) -> None:
    """A longer interval would start them late; a shorter one is also the first pause."""
    agent = Agent(cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), environ={}, poll_interval=interval)

    settings = agent.options.settings
    assert (settings.poll_first, settings.poll_last, settings.prefetch) == (first, interval, ahead)


def test_a_named_prefetch_stays_as_it_is() -> None:
    """A program has decided."""
    agent = Agent(
        cloud=InMemoryCloudApi(),
        platform=InMemoryPlatform(),
        environ={"PREFECT_AGENT_POLL_INTERVAL": "60"},
        settings=AgentSettings(prefetch=2.0),
    )

    assert (agent.options.settings.poll_last, agent.options.settings.prefetch) == (60, 2)


def test_the_earlier_name_of_the_drain_timeout_still_works() -> None:
    """The new name wins."""

    def patience(**environ: str) -> float:
        return Agent(
            cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), environ=environ
        ).options.settings.stop_patience

    assert patience(PREFECT_AGENT_STOP_PATIENCE="4") == 4
    assert patience(PREFECT_AGENT_STOP_PATIENCE="4", PREFECT_AGENT_DRAIN_TIMEOUT="5") == 5
