"""From options, environment and files to settings: option, environment, file, default - in this order."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.settings.configuration import (
    CLOUD_API,
    SERVER_API,
    CloudLogin,
    Configuration,
    connection,
    env_vars,
    labels,
)

TENANT = "11111111-1111-4111-8111-111111111111"
OTHER = "22222222-2222-4222-8222-222222222222"


@attrs.define
class Home:
    """A person's home directory with Prefect's files."""

    path: Path

    def write(self, **files: str) -> None:
        """Write files of ``~/.prefect``; the name's first underscore stands for nothing."""
        folder = self.path / ".prefect"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / f"{name}.toml").write_text(text, encoding="utf-8")

    def load(self, environ: Mapping[str, str] | None = None) -> Configuration:
        """What this person configured."""
        return Configuration.load({"HOME": str(self.path), **(environ or {})})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home without any file."""
    return Home(tmp_path)


def configured(environ: Mapping[str, str] | None = None, files: Mapping[str, Any] | None = None) -> Configuration:
    """A configuration without a disk."""
    return Configuration({"HOME": "/home/u", **(environ or {})}, files or {})


# --- precedence ---


@pytest.mark.parametrize(
    ("option", "environ", "file", "stored", "winner"),
    [
        ("option", "environ", "file", "stored", "option"),
        (None, "environ", "file", "stored", "environ"),
        (None, None, "file", "stored", "file"),
        (None, None, None, "stored", "stored"),
        (None, "", "file", None, "file"),
        ("", "environ", None, None, "environ"),
    ],
)
def test_where_the_api_key_comes_from(
    home: Home, option: str | None, environ: str | None, file: str | None, stored: str | None, winner: str
) -> None:
    """Option, environment, config.toml, auth.toml: the first that is set wins; empty counts as not set."""
    home.write(
        config=f'[cloud]\napi_key = "{file}"' if file else "",
        auth=f'["api.prefect.io"]\napi_key = "{stored}"' if stored else "",
    )
    found = home.load({} if environ is None else {"PREFECT__CLOUD__API_KEY": environ})

    assert connection(found, key=option) == CloudLogin(api=CLOUD_API, backend="cloud", key=winner)


@pytest.mark.parametrize(
    ("environ", "key"),
    [
        (("CLOUD__API_KEY", "CLOUD__AGENT__AUTH_TOKEN", "CLOUD__AUTH_TOKEN"), "CLOUD__API_KEY"),
        (("CLOUD__AGENT__AUTH_TOKEN", "CLOUD__AUTH_TOKEN"), "CLOUD__AGENT__AUTH_TOKEN"),
        (("CLOUD__AUTH_TOKEN",), "CLOUD__AUTH_TOKEN"),
    ],
)
def test_tokens_of_the_past_are_keys(environ: tuple[str, ...], key: str) -> None:
    """An installation of 0.x goes on with its token; a key beats it."""
    found = configured({f"PREFECT__{name}": name for name in environ})

    assert connection(found).key == key


@pytest.mark.parametrize(
    ("option", "environ", "file", "stored", "winner"),
    [
        (TENANT, OTHER, OTHER, OTHER, TENANT),
        (None, TENANT, OTHER, OTHER, TENANT),
        (None, None, TENANT, OTHER, TENANT),
        (None, None, None, TENANT, TENANT),
        (None, None, None, None, None),
    ],
)
def test_where_the_tenant_comes_from(
    home: Home, option: str | None, environ: str | None, file: str | None, stored: str | None, winner: str | None
) -> None:
    """The same order as for the key."""
    home.write(
        config=f'[cloud]\ntenant_id = "{file}"' if file else "",
        auth=f'["api.prefect.io"]\napi_key = "k"\ntenant_id = "{stored}"' if stored else "",
    )
    found = home.load({"PREFECT__CLOUD__TENANT_ID": environ} if environ else {})

    assert connection(found, key="k", tenant_id=option).tenant_id == winner


def test_a_stored_login_is_for_its_server_only(home: Home) -> None:
    """The key of one server is never sent to another (promise P5)."""
    home.write(auth='["api.prefect.io"]\napi_key = "cloud"\n["localhost-4200"]\napi_key = "local"')
    found = home.load()

    assert connection(found).key == "cloud"
    assert connection(found, api="http://localhost:4200").key == "local"
    assert connection(found, api="http://elsewhere:4200").key is None


def test_files_may_be_elsewhere(home: Home) -> None:
    """The variables of 1.x that move the files are honoured, ``~`` and ``$VAR`` in them too."""
    (home.path / "mine.toml").write_text('[cloud.agent]\nname = "mine"', encoding="utf-8")
    (home.path / "back.toml").write_text('backend = "server"', encoding="utf-8")
    (home.path / "p").mkdir()
    (home.path / "p" / "auth.toml").write_text('["localhost-4200"]\napi_key = "k"', encoding="utf-8")

    found = home.load(
        {
            "PREFECT__USER_CONFIG_PATH": "~/mine.toml",
            "PREFECT__BACKEND_CONFIG_PATH": "$HOME/back.toml",
            "PREFECT__HOME_DIR": "${HOME}/p",
        }
    )

    assert found.text("cloud.agent.name") == "mine"
    assert connection(found) == CloudLogin(api=SERVER_API, backend="server", key="k")


def test_the_backend_file_beats_the_config_file(home: Home) -> None:
    """``prefect backend`` writes it: the later word counts."""
    home.write(config='backend = "cloud"', backend='backend = "server"')

    assert connection(home.load()).backend == "server"


# --- which Cloud ---


@pytest.mark.parametrize(
    ("api", "key", "backend", "expected"),
    [
        (None, "k", None, (CLOUD_API, "cloud")),
        ("http://127.0.0.1:4200", None, None, ("http://127.0.0.1:4200", "server")),
        ("http://127.0.0.1:4200/", None, None, ("http://127.0.0.1:4200", "server")),
        ("https://cloud.test", "k", None, ("https://cloud.test", "cloud")),
        ("https://cloud.test", "k", "server", ("https://cloud.test", "server")),
        (None, None, "server", (SERVER_API, "server")),
    ],
)
def test_the_backend_is_inferred(
    api: str | None, key: str | None, backend: str | None, expected: tuple[str, str]
) -> None:
    """Said outright, or a key means Cloud and an address without one a Server (protocol section 11.3)."""
    found = configured({"PREFECT__BACKEND": backend} if backend else {})

    told = connection(found, api=api, key=key)

    assert (told.api, told.backend) == expected


@pytest.mark.parametrize(
    ("environ", "address"),
    [
        ({}, "http://localhost:4200"),
        ({"PREFECT__SERVER__PORT": "4321"}, "http://localhost:4321"),
        ({"PREFECT__SERVER__HOST": "http://h"}, "http://h:4200"),
        ({"PREFECT__SERVER__HOST": "http://h", "PREFECT__SERVER__ENDPOINT": "http://e"}, "http://e"),
        ({"PREFECT__SERVER__ENDPOINT": "http://e", "PREFECT__CLOUD__API": "http://a"}, "http://a"),
    ],
)
def test_the_address_of_a_server(environ: dict[str, str], address: str) -> None:
    """Host and port, the endpoint, or ``cloud.api``, which is what is used in the end."""
    assert connection(configured({"PREFECT__BACKEND": "server", **environ})).api == address


def test_no_key_for_prefect_cloud_says_what_to_do() -> None:
    """The message names every way to give one, and the other backend."""
    with pytest.raises(ConfigurationError) as problem:
        connection(configured())

    for words in ("--token", "PREFECT__CLOUD__API_KEY", "config.toml", "--api", "PREFECT__BACKEND=server"):
        assert words in str(problem.value)


@pytest.mark.parametrize(
    "given_",
    [
        {"api": "api.prefect.io"},
        {"api": "ftp://x"},
        {"api": "http://"},
        {"api": "http://[::1"},
        {"api": "http://x", "tenant_id": "default"},
    ],
    ids=lambda value: min(value.values()),
)
def test_what_cannot_be_an_address_or_tenant_is_refused(given_: dict[str, str]) -> None:
    """Typing errors end the start with a sentence, not with a traceback."""
    with pytest.raises(ConfigurationError):
        connection(configured(), key="k", **given_)


@pytest.mark.parametrize("value", ["sever", "['cloud']", "{}"])
def test_a_backend_that_does_not_exist_is_refused(value: str) -> None:
    """There are two."""
    with pytest.raises(ConfigurationError, match="backend"):
        connection(configured({"PREFECT__BACKEND": value}))


def test_a_connection_does_not_show_its_key() -> None:
    """Promise P5."""
    found = Configuration({"A": "b"}, {}, {"api.prefect.io": {"api_key": "s3cr3t"}})

    assert "s3cr3t" not in repr(connection(found))
    assert "s3cr3t" not in repr(found)


# --- files that are wrong ---


@pytest.mark.parametrize("name", ["config", "backend", "auth"])
@pytest.mark.parametrize("content", [b"= 3", b"\xff\xfe", b"a = \x00"], ids=["syntax", "encoding", "nul"])
def test_a_file_that_is_no_toml_is_named(home: Home, name: str, content: bytes) -> None:
    """The person learns which file to mend."""
    home.write()
    path = home.path / ".prefect" / f"{name}.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=str(path)):
        home.load()


def test_files_that_are_not_there_are_empty(tmp_path: Path) -> None:
    """A fresh machine has none, and a service may have no home at all."""
    found = Configuration.load({"HOME": str(tmp_path / "nobody")})

    assert found.find("cloud.api_key") is None


@pytest.mark.parametrize("content", ["cloud = 3", "[cloud]\nagent = []", "[cloud.agent]\nname = []"])
def test_a_table_of_the_wrong_shape_is_not_a_traceback(home: Home, content: str) -> None:
    """A value where a table should be counts as nothing; a list where a text should be is refused or ignored."""
    home.write(config=content)
    found = home.load()

    try:
        name = found.text("cloud.agent.name")
    except ConfigurationError:
        return
    assert name is None or isinstance(name, str)


# --- values ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("['a', 'b']", ["a", "b"]),
        ('["a", "b"]', ["a", "b"]),
        ('{"K": "V"}', {"K": "V"}),
        ("plain", "plain"),
        ("'quoted'", "quoted"),
        ("[broken", "[broken"),
        ("$WHO/x", "me/x"),
        ("${WHO}/x", "me/x"),
        ("$NOBODY/x", "$NOBODY/x"),
        ("~/x", "/home/u/x"),
        ("", None),
    ],
)
def test_values_are_read_as_in_1_x(text: str, value: object) -> None:
    """Truth values, Python and JSON literals, texts with variables (protocol section 11.3)."""
    assert configured({"PREFECT__A__B": text, "WHO": "me"}).find("a.b") == value


@given(st.text())
@example("{[]: 1}")
@example("[" * 5000)
def test_any_text_is_a_value(text: str) -> None:
    """A variable of the environment that happens to look like a literal breaks nothing."""
    configured({"PREFECT__A": text}).find("a")


@given(st.dictionaries(st.sampled_from(["A", "B"]), st.text(alphabet="[]{}'\",:1a", max_size=8)))
def test_labels_and_variables_are_texts_whatever_is_configured(environ: dict[str, str]) -> None:
    """What comes out can be used, or is one sentence that names the setting, whatever went in."""
    names = ("PREFECT__CLOUD__AGENT__LABELS", "PREFECT__CLOUD__AGENT__ENV_VARS")
    found = configured({names[0]: environ.get("A", ""), names[1]: environ.get("B", "")})

    with contextlib.suppress(ConfigurationError):
        assert all(isinstance(label, str) for label in labels(found, ()))
    with contextlib.suppress(ConfigurationError):
        assert json.dumps(env_vars(found, ()))


@pytest.mark.parametrize(
    ("configured_", "given_", "expected"),
    [
        ("['a', 'b']", [], ["a", "b"]),
        ('["a"]', [], ["a"]),
        ("a, b,", [], ["a", "b"]),
        ("['a']", ["x"], ["x"]),
        ("", [], []),
        ("3", [], ["3"]),
        ("[1]", [], ["1"]),
    ],
)
def test_labels_of_options_or_configuration(configured_: str, given_: list[str], expected: list[str]) -> None:
    """Options replace what is configured; a list or words with commas."""
    assert labels(configured({"PREFECT__CLOUD__AGENT__LABELS": configured_}), given_) == expected


def test_variables_of_options_and_configuration() -> None:
    """Options are added to what is configured, and win; values may hold an equals sign and be empty."""
    found = configured({"PREFECT__CLOUD__AGENT__ENV_VARS": '{"A": "1", "B": 2}'})

    assert env_vars(found, ["A=x=y", "C="]) == {"A": "x=y", "B": "2", "C": ""}


@pytest.mark.parametrize("pair", ["A", "=1", ""])
def test_a_variable_without_name_or_value_is_refused(pair: str) -> None:
    """KEY=VALUE, says the message."""
    with pytest.raises(ConfigurationError, match="KEY=VALUE"):
        env_vars(configured(), [pair])


def test_environment_beats_file_for_every_setting() -> None:
    """The same precedence everywhere."""
    files = {"cloud": {"agent": {"labels": ["file"], "env_vars": {"A": "file"}}}}

    assert labels(configured({}, files), ()) == ["file"]
    assert env_vars(configured({}, files), ()) == {"A": "file"}
    assert labels(configured({"PREFECT__CLOUD__AGENT__LABELS": "environ"}, files), ()) == ["environ"]
