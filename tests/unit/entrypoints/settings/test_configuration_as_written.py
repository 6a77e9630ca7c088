"""Settings as people write them: in quotes, in brackets, in any case, under any home; files that cannot be read."""

import os
from pathlib import Path
from typing import Any

import pytest

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.policy import OPEN
from prefect.agent.domain.secrets import passwords_of
from prefect.agent.entrypoints.library.kinds import DockerAgent, ProcessAgent, kubernetes_options
from prefect.agent.entrypoints.settings.bounds import bounds
from prefect.agent.entrypoints.settings.configuration import Configuration, connection, env_vars, labels
from prefect.agent.entrypoints.settings.policies import policy_of, with_template_paths
from prefect.agent.entrypoints.settings.secret_sources import check_proxies, read_file
from prefect.agent.entrypoints.settings.values import as_flag, as_level

LABELS = "PREFECT__CLOUD__AGENT__LABELS"
ENV_VARS = "PREFECT__CLOUD__AGENT__ENV_VARS"


def configured(files: dict[str, Any] | None = None, /, **environ: str) -> Configuration:
    """A configuration of *files* and variables, without a disk."""
    return Configuration({"HOME": "/home/u", **environ}, files or {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'['dev', 'x']'", ["dev", "x"]),
        ('"["dev"]"', ["dev"]),
        ("'('dev',)'", ["dev"]),
        ("[true]", ["true"]),
        ("(dev, x)", ["dev", "x"]),
        ('"dev,x"', ["dev", "x"]),
        ("dev\nx\n", ["dev", "x"]),
        ("größe,日本", ["größe", "日本"]),
        ("'[]'", []),
        ("''", []),
        ("007", ["007"]),
        ("gpu[0], a:(b", ["gpu[0]", "a:(b"]),
    ],
)
def test_labels_are_understood_in_every_form_that_people_write(text: str, expected: list[str]) -> None:
    """Quotes that Compose keeps around the same quotes, lines, brackets that are part of a name."""
    assert labels(configured(**{LABELS: text}), ()) == expected
    assert labels(configured({"cloud": {"agent": {"labels": text}}}), ()) == expected


@pytest.mark.parametrize("text", ["['dev'", "dev]", "{'dev'", "[['a'], ['b']]", '{"a": "b"}', "[null]"])
def test_labels_that_cannot_be_read_are_refused_by_name(text: str) -> None:
    """An agent with half a label would take other flow runs than its operator thinks."""
    with pytest.raises(ConfigurationError, match=LABELS):
        labels(configured(**{LABELS: text}), ())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'FOO=bar'", {"FOO": "bar"}),
        ("['FOO=bar', 'BAZ=1']", {"FOO": "bar", "BAZ": "1"}),
        ('\'{"FOO": "bar"}\'', {"FOO": "bar"}),
        ('"{"FOO": "bar"}"', {"FOO": "bar"}),
        ("'{'FOO': 'bar'}'", {"FOO": "bar"}),
    ],
)
def test_variables_are_understood_in_every_form_that_people_write(text: str, expected: dict[str, str]) -> None:
    """A table, pairs, or a list of pairs, in quotes or not."""
    assert env_vars(configured(**{ENV_VARS: text}), ()) == expected


@pytest.mark.parametrize("text", ["FOO", "{FOO: s3cr3t}", "[1, 2]", "['A=1', 's3cr3t']", '{"A": null}'])
def test_variables_that_cannot_be_read_are_refused_by_name(text: str) -> None:
    """They are never ignored, and their values are not shown."""
    with pytest.raises(ConfigurationError, match=ENV_VARS) as problem:
        env_vars(configured(**{ENV_VARS: text}), ())

    assert "s3cr3t" not in str(problem.value)


def test_levels_among_the_variables_of_flow_runs_are_checked() -> None:
    """Every flow run would die of another spelling."""
    assert env_vars(configured(), ["PREFECT__LOGGING__LEVEL=debug"]) == {"PREFECT__LOGGING__LEVEL": "DEBUG"}
    with pytest.raises(ConfigurationError, match=r"PREFECT__LOGGING__LEVEL among .* is 'loud'"):
        env_vars(configured(), ["PREFECT__LOGGING__LEVEL=loud"])
    with pytest.raises(ConfigurationError, match="PREFECT__LOGGING__LEVEL among"):
        env_vars(configured(**{f"{ENV_VARS}__PREFECT__LOGGING__LEVEL": "loud"}), ())


@pytest.mark.parametrize(
    ("value", "truth"),
    [('"false"', False), ("'no'", False), ("'False'", False), ('"1"', True), ("''", None)],
)
def test_a_truth_in_quotes_is_what_it_says(value: str, truth: bool | None) -> None:
    """``"false"`` is not true, in a variable and in a file."""
    assert as_flag(value, "x") is truth
    assert configured(PREFECT__A__B=value).flag("a.b") is truth
    assert configured({"a": {"b": value}}).flag("a.b") is truth
    assert as_level("'debug'", "x") == "DEBUG"


def test_the_address_the_key_and_the_backend_are_stripped() -> None:
    """White space and quotes around a value are no part of it, and case does not matter for the backend."""
    given = {
        "PREFECT__CLOUD__API": " 'http://h:1/' ",
        "PREFECT__CLOUD__API_KEY": '"key-1"\n',
        "PREFECT__BACKEND": "Server ",
    }
    found = connection(configured(**given))

    assert (found.api, found.key, found.backend) == ("http://h:1", "key-1", "server")
    assert bounds({"PREFECT_AGENT_LIMIT": " '7' "}, {}) == {"limit": 7}


def test_names_of_settings_have_no_case_after_the_prefix() -> None:
    """1.x lowers what follows ``PREFECT__``; the name of a variable of flow runs keeps its case. Capitals win."""
    found = configured(PREFECT__cloud__agent__name="a", PREFECT__Cloud__Api="http://h:1", prefect__backend="other")

    assert found.text("cloud.agent.name") == "a"
    assert connection(found).api == "http://h:1"
    assert env_vars(configured(PREFECT__cloud__agent__env_vars__Xy="1"), ()) == {"Xy": "1"}
    assert configured(PREFECT__a__b="1", PREFECT__A__B="2").text("a.b") == "2"
    assert "PREFECT__CLOUD__API " in configured(PREFECT__cloud__api="x").source("cloud.api").replace(")", " ")


# --- homes ---


def test_the_home_of_another_user_is_not_ours_with_a_name_behind_it() -> None:
    """``~name/x`` is under that user's home; a text that only looks like it stays."""
    assert configured(PREFECT__A__B="~root/x").find("a.b") == f"{os.path.expanduser('~root')}/x"  # noqa: PTH111
    assert configured(PREFECT__A__B="~nosuchuser/x").find("a.b") == "~nosuchuser/x"


@pytest.mark.parametrize("name", ["HOME_DIR", "USER_CONFIG_PATH", "BACKEND_CONFIG_PATH"])
def test_the_home_of_a_user_that_does_not_exist_is_refused_by_name(name: str) -> None:
    """Its files would be silently ignored."""
    with pytest.raises(ConfigurationError, match=rf"PREFECT__{name} is '~nosuchuser/x', but there is no such home"):
        Configuration.load({f"PREFECT__{name}": "~nosuchuser/x"})


def test_every_path_under_a_home_that_does_not_exist_is_one_sentence() -> None:
    """Of a secret, of a policy and of job templates."""
    with pytest.raises(ConfigurationError, match="--token-file is '~nosuchuser/x'"):
        read_file("~nosuchuser/x", "--token-file")
    with pytest.raises(ConfigurationError, match="PREFECT_AGENT_POLICY is '~nosuchuser/x'"):
        policy_of(None, {"PREFECT_AGENT_POLICY": "~nosuchuser/x"})
    with pytest.raises(ConfigurationError, match="'~nosuchuser/x', but there is no such home"):
        with_template_paths(OPEN, ["~nosuchuser/x"], {})


# --- variables of this product's own ---


def test_variables_of_the_kubernetes_agent_are_read_alike() -> None:
    """Quotes, brackets and case do not matter there either, and what is no truth is refused by name."""
    given = {
        "NAMESPACE": " 'flows' ",
        "PREFECT_AGENT_CLUSTER_WIDE": "'True'",
        "PREFECT_AGENT_WITHOUT": "[logs, events]",
        "IMAGE_PULL_SECRETS": "['a', 'b']",
    }

    expected = {"namespace": "flows", "cluster_wide": True, "without": ["logs", "events"], "image_pull_secrets": "a,b"}
    assert kubernetes_options(given) == expected


@pytest.mark.parametrize("text", ["['/a', \"/b\"]", "[/a, /b]", "'/a,/b'", "/a\n/b", '"["/a", "/b"]"'])
def test_lists_of_our_own_variables_are_read_like_all_lists(text: str) -> None:
    """Registries and places of job templates, as people write lists."""
    agent = DockerAgent(environ={"PREFECT_AGENT_REG_ALLOW_LIST": text, "PREFECT__CLOUD__API": "http://h:1"})

    assert agent._options.platform_options["reg_allow_list"] == ["/a", "/b"]
    found = with_template_paths(OPEN, None, {"PREFECT_AGENT_TEMPLATE_PATHS": text})
    assert found == with_template_paths(OPEN, ["/a", "/b"], {})


def test_texts_of_our_own_variables_are_bare() -> None:
    """A preset of the policy, an interpreter, a size, in quotes."""
    assert policy_of(None, {"PREFECT_AGENT_POLICY": " 'restricted' "}).preset == "restricted"
    given = {"PREFECT_AGENT_INTERPRETER": "'/usr/bin/python3'", "PREFECT_AGENT_OUTPUT_LIMIT": '"5"'}
    options = ProcessAgent(environ={**given, "PREFECT__CLOUD__API": "http://h:1"})._options.platform_options

    assert (options["interpreter"], options["output_limit"]) == ("/usr/bin/python3", 5)


# --- files ---


@pytest.mark.parametrize("name", ["config.toml", "backend.toml", "auth.toml"])
def test_a_file_that_is_there_and_may_not_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its settings are meant to count; in a folder of another user it cannot be known."""
    path = tmp_path / name
    path.write_text("x = 1", encoding="utf-8")
    opened = Path.open

    def refuse(place: Path, *arguments: Any, **details: Any) -> Any:
        if place.name == name:
            raise PermissionError(13, "Permission denied")
        return opened(place, *arguments, **details)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigurationError, match=f"cannot read {path}"):
        Configuration.load({"PREFECT__HOME_DIR": str(tmp_path)})
    assert Configuration.load({"PREFECT__HOME_DIR": str(tmp_path / "none")}).files == {}


@pytest.mark.parametrize("name", ["config.toml", "backend.toml", "auth.toml"])
def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path, name: str) -> None:
    """As a mount of a file that is not there makes it."""
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError, match=f"cannot read {tmp_path / name}"):
        Configuration.load({"PREFECT__HOME_DIR": str(tmp_path)})


def test_the_mark_of_an_editor_at_the_beginning_of_a_file_is_not_part_of_it(tmp_path: Path) -> None:
    """Editors of Windows write it."""
    (tmp_path / "config.toml").write_text("\ufeffx = 1", encoding="utf-8")
    assert Configuration.load({"PREFECT__HOME_DIR": str(tmp_path)}).find("x") == 1


# --- passwords of addresses ---


@pytest.mark.parametrize("name", ["api", "endpoint"])
def test_the_password_of_an_address_in_a_file_is_masked(name: str) -> None:
    """From the start, before it is known whether that address is used; a name without a password is a token."""
    assert "s3cr3t-1" in Configuration({}, {"cloud": {name: "http://u:s3cr3t-1@h"}}).secrets()
    assert "t0ken-x" in Configuration({}, {"server": {"endpoint": "https://t0ken-x@h"}}).secrets()


def test_a_name_in_an_address_that_is_no_token_is_not_masked() -> None:
    """The user of a Docker engine by SSH would take a word out of the log."""
    assert passwords_of("ssh://root@h") == set()
    assert passwords_of("http://user:pa%24s@h") == {"pa%24s", "pa$s"}


@pytest.mark.parametrize("proxy", ["http://[::1", "http://u:s3cr3t@h:x", "h:x", "http://h:99999"])
@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_address_of_a_proxy_that_can_be_none_is_refused_by_name(name: str, proxy: str) -> None:
    """The key and the address of the API are not to blame; it may have a password."""
    with pytest.raises(ConfigurationError, match=f"^{name} is not the address of a proxy") as problem:
        check_proxies({name: proxy})
    assert "s3cr3t" not in str(problem.value)
    check_proxies({name: "h:3128"})
    check_proxies({name: "http://u:p@[::1]:3128"})
