"""What people write as values of settings: understood, or one sentence with the setting's name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from prefect.agent.adapters.docker.engine import DockerEngine
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.library.kinds import KubernetesAgent, kubernetes_options
from prefect.agent.entrypoints.settings.configuration import Configuration, connection, env_vars, labels
from prefect.agent.entrypoints.settings.policies import policy_of

LABELS = "PREFECT__CLOUD__AGENT__LABELS"
ENV_VARS = "PREFECT__CLOUD__AGENT__ENV_VARS"


def configured(environ: Mapping[str, str] | None = None, **files: Any) -> Configuration:
    """A configuration without a disk."""
    return Configuration({"HOME": "/home/u", **(environ or {})}, files)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['dev','x']", ["dev", "x"]),
        ("\"['dev','x']\"", ["dev", "x"]),
        ('\'["dev","x"]\'', ["dev", "x"]),
        ("[dev, x]", ["dev", "x"]),
        ("['dev', x]", ["dev", "x"]),
        ("('dev', 'x')", ["dev", "x"]),
        ("{'dev'}", ["dev"]),
        (" dev , x ", ["dev", "x"]),
        ("'dev','x'", ["dev", "x"]),
        ('"dev"', ["dev"]),
        ("['dev']\n", ["dev"]),
        ("[' dev ']", ["dev"]),
        ("[]", []),
        ("[1, 2.5]", ["1", "2.5"]),
        ("true", ["true"]),
        ("   ", []),
        ("None", []),
    ],
)
def test_labels_as_people_write_them(text: str, expected: list[str]) -> None:
    """Quotes that Compose keeps, brackets without quotes, white space."""
    assert labels(configured({LABELS: text}), ()) == expected


@pytest.mark.parametrize(
    "text", ["{'a': 'b'}", "[['a']]", "[None]", '[{"a": 1}]', '["a" "b"', "[a", "[[a]", '["\\ud800"]']
)
def test_labels_that_are_no_list_are_refused_by_name(text: str) -> None:
    """Never silently nothing."""
    with pytest.raises(ConfigurationError, match=LABELS):
        labels(configured({LABELS: text}), ())


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({ENV_VARS: "FOO=bar"}, {"FOO": "bar"}),
        ({ENV_VARS: "FOO=bar,BAZ=1=2"}, {"FOO": "bar", "BAZ": "1=2"}),
        ({ENV_VARS: "FOO=a,b"}, {"FOO": "a,b"}),
        ({ENV_VARS: "FOO=bar\nBAZ=x y\n"}, {"FOO": "bar", "BAZ": "x y"}),
        ({ENV_VARS: "\"{'FOO': 'bar'}\""}, {"FOO": "bar"}),
        ({f"{ENV_VARS}__FOO": "bar", f"{ENV_VARS}__x_Y": "1"}, {"FOO": "bar", "x_Y": "1"}),
        ({ENV_VARS: '{"FOO": "a", "B": "c"}', f"{ENV_VARS}__FOO": "bar"}, {"FOO": "bar", "B": "c"}),
        ({ENV_VARS: '{"A": "${server.host}/x", "W": "$WHO"}', "WHO": "me"}, {"A": "http://localhost/x", "W": "me"}),
        ({f"{ENV_VARS}__A": "${server.host}:${server.port}"}, {"A": "http://localhost:4200"}),
        ({f"{ENV_VARS}__A": "true", f"{ENV_VARS}__B": "['x']"}, {"A": "true", "B": "['x']"}),
        ({ENV_VARS: "{}"}, {}),
    ],
)
def test_variables_as_people_write_them(environ: dict[str, str], expected: dict[str, str]) -> None:
    """One for each, as the installer of 0.11 to 0.14 does; pairs; a literal; with references."""
    assert env_vars(configured(environ), ()) == expected


@pytest.mark.parametrize("text", ["s3cr3t", "['s3cr3t']", "3", "=s3cr3t", "A B=s3cr3t", "true"])
def test_variables_that_are_none_are_refused_by_name(text: str) -> None:
    """The value is not shown."""
    with pytest.raises(ConfigurationError, match=ENV_VARS) as problem:
        env_vars(configured({ENV_VARS: text}), ())
    assert "s3cr3t" not in str(problem.value)


@pytest.mark.parametrize(
    ("files", "environ", "api"),
    [
        ({"cloud": {"api": "${server.host}:${server.port}"}, "server": {"host": "http://h"}}, {}, "http://h:4200"),
        ({"cloud": {"api": "${${backend}.endpoint}"}, "server": {"port": 4321}}, {}, "http://localhost:4321"),
        ({"server": {"endpoint": "${server.host}:${server.port}/x"}}, {}, "http://localhost:4200/x"),
        ({}, {"PREFECT__CLOUD__API": "${server.host}:$PORT", "PORT": "1"}, "http://localhost:1"),
        ({}, {"PREFECT__CLOUD__API": "${ONE}", "ONE": "${TWO}", "TWO": "http://two"}, "http://two"),
        ({}, {"PREFECT__CLOUD__API": '"http://quoted"'}, "http://quoted"),
        ({}, {"PREFECT__CLOUD__API": " http://blank \n"}, "http://blank"),
    ],
)
def test_references_are_resolved(files: dict[str, Any], environ: dict[str, str], api: str) -> None:
    """To settings, to their defaults, to variables; one inside the other."""
    assert connection(configured({"PREFECT__BACKEND": "server", **environ}, **files)).api == api


@pytest.mark.parametrize(
    "text", ["${NOT_THERE}", "${server.nothing}", "${cloud.api}", "x${cloud.api}${cloud.api}", "[${NOT_THERE}]"]
)
def test_references_that_lead_nowhere_are_refused_by_name(text: str) -> None:
    """An agent that would ask the default Cloud instead is worse than none."""
    with pytest.raises(ConfigurationError, match="PREFECT__CLOUD__API"):
        connection(configured({"PREFECT__CLOUD__API": text}))


@pytest.mark.parametrize("value", [5, 2.5, {"a": 1}])
def test_labels_of_a_file_that_are_no_list_are_refused_by_name(value: object) -> None:
    """A file has types: its number is no list."""
    with pytest.raises(ConfigurationError, match=r"cloud\.agent\.labels .* must be a list such as"):
        labels(configured({}, cloud={"agent": {"labels": value}}), ())


@pytest.mark.parametrize("name", ["cloud.api", "cloud.api_key", "cloud.agent.name", "cloud.tenant_id", "backend"])
@pytest.mark.parametrize("value", [["a"], {"a": 1}])
def test_a_list_or_table_in_place_of_a_text_is_refused_by_name(name: str, value: object) -> None:
    """In a file; variables that look like one are, too."""
    files: Any = value
    for part in reversed(name.split(".")):
        files = {part: files}
    with pytest.raises(ConfigurationError, match=name):
        configured({}, **files).text(name)


@pytest.mark.parametrize("files", [{"cloud": 3}, {"cloud": {"agent": []}}, {"cloud": {"agent": "x"}}])
def test_a_section_that_is_no_table_is_refused_by_name(files: dict[str, Any]) -> None:
    """Its settings would be ignored."""
    with pytest.raises(ConfigurationError, match=r"cloud.* must be a table"):
        configured({}, **files).text("cloud.agent.name")


@pytest.mark.parametrize(
    ("text", "level"),
    [("debug", "DEBUG"), (" Info ", "INFO"), ("warn", "WARNING"), ("fatal", "CRITICAL"), ("10", "10"), ("", None)],
)
def test_levels_in_any_case(text: str, level: str | None) -> None:
    """A flow run dies of ``debug``."""
    assert configured({"PREFECT__LOGGING__LEVEL": text}).level("logging.level") == level


@pytest.mark.parametrize("text", ["loud", "['DEBUG']", "-1", "1.5", "true", "٣", "9" * 5, "9" * 6000])
def test_a_level_that_does_not_exist_is_refused_by_name(text: str) -> None:
    """At the start of the agent, not of every flow run."""
    with pytest.raises(ConfigurationError, match="PREFECT__LOGGING__LEVEL"):
        configured({"PREFECT__LOGGING__LEVEL": text}).level("logging.level")


@pytest.mark.parametrize(
    ("value", "expected"), [("true", True), ("no", False), ("0", False), (0, False), (True, True), ("", None)]
)
def test_flags_as_people_write_them(value: object, expected: bool | None) -> None:
    """In files, too."""
    assert configured({}, cloud={"send_flow_run_logs": value}).flag("cloud.send_flow_run_logs") is expected


def test_a_flag_that_is_none_is_refused_by_name() -> None:
    """It is not taken for true."""
    with pytest.raises(ConfigurationError, match="SEND_FLOW_RUN_LOGS"):
        configured({"PREFECT__CLOUD__SEND_FLOW_RUN_LOGS": "maybe"}).flag("cloud.send_flow_run_logs")


@pytest.mark.parametrize(("text", "expected"), [("true", True), (" Yes ", True), ("FALSE", False), ("0", False)])
def test_switches_of_the_kubernetes_agent(text: str, expected: bool) -> None:
    """Its variables are read like all others; white space is taken away."""
    found = kubernetes_options({"PREFECT_AGENT_CLUSTER_WIDE": text, "NAMESPACE": " here\n", "YAML_TEMPLATE": " "})
    assert found == {"cluster_wide": expected, "namespace": "here"}


def test_a_switch_of_the_kubernetes_agent_that_is_none_is_refused_by_name() -> None:
    """It is not taken for off."""
    with pytest.raises(ConfigurationError, match="PREFECT_AGENT_CLUSTER_WIDE"):
        kubernetes_options({"PREFECT_AGENT_CLUSTER_WIDE": "perhaps"})
    with pytest.raises(ConfigurationError, match="DELETE_FINISHED_JOBS"):
        KubernetesAgent(environ={"DELETE_FINISHED_JOBS": "perhaps"})


@pytest.mark.parametrize("text", ["\udcff", '"\\ud800"', '"a\\u0000"'])
def test_a_text_that_no_cloud_takes_is_refused_by_name(text: str) -> None:
    """Bytes that are no UTF-8, half a surrogate pair, a NUL byte."""
    with pytest.raises(ConfigurationError, match="PREFECT__CLOUD__AGENT__NAME"):
        configured({"PREFECT__CLOUD__AGENT__NAME": text}).text("cloud.agent.name")


@pytest.mark.parametrize(
    "text", ['{"A=": "secret"}', '{"": "secret"}', '{"A": "secret\\u0000"}', '{"A": "secret\\ud800"}']
)
def test_variables_that_no_flow_run_can_be_given_are_refused_at_the_start(text: str) -> None:
    """Else every flow run would fail of them; the value is not shown."""
    with pytest.raises(ConfigurationError, match="env_vars") as refusal:
        env_vars(configured({ENV_VARS: text}), ())
    assert "secret" not in str(refusal.value)


def test_options_that_are_no_text_are_refused_by_name() -> None:
    """The command line has bytes that are no UTF-8 as well."""
    with pytest.raises(ConfigurationError, match="--label"):
        labels(configured(), ["\udcff"])
    with pytest.raises(ConfigurationError, match="'A'"):
        env_vars(configured(), ["A=\udcff"])


@pytest.mark.parametrize("name", ["PREFECT__CLOUD__API_KEY_FILE", "PREFECT_AGENT_FLOW_RUN_KEY_FILE"])
def test_a_file_under_a_home_that_does_not_exist_is_refused_by_name(name: str) -> None:
    """A UID without an entry in a container has no home, and a name may have a slip."""
    environ = {"PREFECT__CLOUD__API": "http://127.0.0.1:1", name: "~no-such-user/key"}
    with pytest.raises(ConfigurationError, match="~no-such-user/key', but there is no such home"):
        connection(configured(environ))


def test_a_policy_under_a_home_that_does_not_exist_is_refused_by_name() -> None:
    """As any other file."""
    with pytest.raises(ConfigurationError, match="~no-such-user/policy', but there is no such home"):
        policy_of(None, {"PREFECT_AGENT_POLICY": "~no-such-user/policy"})


def test_the_key_of_flow_runs_is_read_like_every_other_value(tmp_path: Path) -> None:
    """White space and quotes around it, and references in the name of its file."""
    (tmp_path / "key").write_text("flow-run-key\n")
    api = {"PREFECT__CLOUD__API": "http://127.0.0.1:1", "PLACE": str(tmp_path)}
    by_file = {**api, "PREFECT_AGENT_FLOW_RUN_KEY_FILE": " ${PLACE}/key "}
    assert connection(configured(by_file)).flow_run_key == "flow-run-key"
    assert (
        connection(configured({**api, "PREFECT_AGENT_FLOW_RUN_KEY": ' "flow-run-key" '})).flow_run_key == "flow-run-key"
    )


def test_the_tenant_is_compared_however_it_is_written() -> None:
    """With capitals, in braces or without dashes it is the same tenant."""
    environ = {"PREFECT__CLOUD__API": "http://127.0.0.1:1", "PREFECT__CLOUD__TENANT_ID": "A" * 32}
    assert connection(configured(environ)).tenant_id == "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"


@pytest.mark.parametrize("host", ["http://10.0.0.1", "http://10.0.0.1/"])
def test_the_address_of_a_server_is_put_together_from_host_and_port(host: str) -> None:
    """Also of a host that ends with a slash."""
    found = connection(configured(backend="server", server={"host": host, "port": 4201}))
    assert found.api == "http://10.0.0.1:4201"


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"a=" + b"[" * 3000, "nested too deeply"), (b"\xff\xfe", "not text in UTF-8"), (None, "Is a directory")],
)
def test_a_configuration_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    """One sentence, without a number of the system or a name of Python's."""
    path = tmp_path / "config.toml"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words) as refusal:
        Configuration.load({"PREFECT__HOME_DIR": str(tmp_path)})
    assert str(path) in str(refusal.value)
    assert "Errno" not in str(refusal.value)


def test_a_configuration_file_of_windows_is_read(tmp_path: Path) -> None:
    """It begins with a byte order mark."""
    (tmp_path / "config.toml").write_bytes(b'\xef\xbb\xbf[cloud.agent]\r\nname = "x"\r\n')
    assert Configuration.load({"PREFECT__HOME_DIR": str(tmp_path)}).text("cloud.agent.name") == "x"


@pytest.mark.parametrize("address", ["tcp://a..b:2375", "npipe:////./pipe/docker_engine", "tcp://" + "a" * 80 + ":1"])
def test_an_engine_that_no_waiting_helps_to_is_refused_at_once(address: str) -> None:
    """Its code says that a person must change something."""
    with pytest.raises(ConfigurationError, match=r"an impossible host name|of Windows"):
        DockerEngine(address, timeout=1)
