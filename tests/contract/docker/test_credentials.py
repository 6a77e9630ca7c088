"""Docker's ``config.json`` as people have it, in any form: the agent starts, pulls, and says what it could not read."""

import base64
import contextlib
import json
import os
import stat
import subprocess
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from prefect.agent.adapters.docker import DockerPlatform, credentials
from prefect.agent.domain.errors import ConfigurationError, PlatformUnavailable, SubmissionRefused
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.submissions import Submission
from support.docker_config import EMPTY, ENTRIES, GOOD, NO_COLON, SECRET, auths
from support.stub_server import StubServer, says, stub_engine
from support.unprivileged import as_someone, python, python_path

VALUES: Final[tuple[Any, ...]] = (
    None,
    [],
    {},
    5,
    1.5,
    True,
    "x",
    ["x"],
    {"x": None},
    {"x": 5},
    {"x": ["y"]},
    {"x": {"y": [None]}},
)
KEYS: Final = ("auths", "credsStore", "credHelpers", "proxies", "HttpHeaders", "plugins", "AUTHS", "currentContext")
DEFAULTS: Final[tuple[Any, ...]] = (
    None,
    [],
    {},
    5,
    "x",
    {"httpProxy": 5},
    {"noProxy": ["a", "b"]},
    {"httpsProxy": {"a": None}},
)


def forms() -> dict[str, bytes]:
    """Files that hold no login for the registry in question."""
    found = {f"{key}={json.dumps(value)}": json.dumps({key: value}).encode() for key in KEYS for value in VALUES}
    found |= {f"default={json.dumps(each)}": json.dumps({"proxies": {"default": each}}).encode() for each in DEFAULTS}
    found |= {f"other: {name}": auths({"other.example": entry}) for name, entry in {**ENTRIES, **EMPTY}.items()}
    found |= {f"top={json.dumps(value)}": json.dumps(value).encode() for value in VALUES}
    plain = {"empty": b"", "blank": b" \n", "cut": b'{"auths": {', "words": b"no JSON = at all", "zeros": b"\0" * 9}
    coded = {"utf-16": auths({}).decode().encode("utf-16"), "bytes": b"\xff\xfe\xfd", "latin": b'{"a": "\xe9"}'}
    numbers = {"a large number": b'{"auths": ' + b"9" * 9999 + b"}", "ini": b"auth = x\nemail = y"}
    return {**found, **plain, **coded, **numbers}


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's configuration, still to be written; programs beside it are found."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "config.json"


@pytest.fixture
def engine() -> Iterator[StubServer]:
    """One that pulls everything."""
    with stub_engine() as engine:
        engine.answers["POST /images/create"] = says(b'{"status":"done"}\n')
        engine.answers["GET /_ping"] = says(b"OK")
        yield engine


@pytest.fixture
def platform(engine: StubServer, config: Path) -> Iterator[DockerPlatform]:
    """Asks that engine."""
    platform = DockerPlatform(base_url=engine.address)
    yield platform
    platform.close()


def of_image(image: str = "registry.test/x:1") -> Submission:
    """A submission with an image."""
    return Submission(name="unit", flow_run_id=FlowRunId("run"), attempt="1", command=("true",), image=image)


def logins(engine: StubServer) -> list[dict[str, Any]]:
    """What the engine was sent for the registry, by pull; empty for one without credentials."""
    sent = [headers.get("X-Registry-Auth") for line, headers in engine.headers if line == "POST /images/create"]
    return [json.loads(base64.urlsafe_b64decode(each)) if each else {} for each in sent]


class TestForms:
    """What is in the file stops nothing that does not need it."""

    @pytest.mark.parametrize("content", forms().values(), ids=forms().keys())
    def test_the_agent_starts_and_pulls(
        self, engine: StubServer, platform: DockerPlatform, config: Path, content: bytes
    ) -> None:
        """Without credentials, since there are none for this registry."""
        config.write_bytes(content)
        platform.check()
        platform.prepare(of_image())
        assert logins(engine) == [{}]

    @pytest.mark.parametrize("entry", [*ENTRIES.values(), *EMPTY.values()], ids=[*ENTRIES, *EMPTY])
    def test_an_entry_of_another_registry_does_not_matter(
        self, engine: StubServer, platform: DockerPlatform, config: Path, entry: object
    ) -> None:
        """The registry's own is used, however it is written."""
        for name in ("registry.test", "https://registry.test/v2/"):
            config.write_bytes(auths({"a.example": entry, name: GOOD, "z.example": entry}, proxies=None))
            platform.prepare(of_image())
        assert [(each["username"], each["password"]) for each in logins(engine)] == [("me", SECRET)] * 2

    @pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
    def test_a_refused_pull_says_which_entry_is_wrong(
        self, engine: StubServer, platform: DockerPlatform, config: Path, entry: object
    ) -> None:
        """With its file, and without a word of what is in it."""
        config.write_bytes(auths({"registry.test": entry}))
        engine.answers["POST /images/create"] = says(b'{"error":"unauthorized: authentication required"}\n')
        with pytest.raises(SubmissionRefused, match=rf"'registry\.test' of auths in {config}") as refusal:
            platform.prepare(of_image())
        said = "".join(traceback.format_exception(refusal.value))
        assert not [secret for secret in (SECRET, NO_COLON, "hunter2") if secret in said]

    @pytest.mark.parametrize("entry", EMPTY.values(), ids=EMPTY)
    def test_an_entry_without_a_login_is_no_mistake(
        self, engine: StubServer, platform: DockerPlatform, config: Path, entry: object
    ) -> None:
        """``docker logout`` and credential stores leave such entries."""
        config.write_bytes(auths({"registry.test": entry}))
        engine.answers["POST /images/create"] = says(b'{"error":"unauthorized: authentication required"}\n')
        with pytest.raises(SubmissionRefused) as refusal:
            platform.prepare(of_image())
        assert str(config) not in str(refusal.value)

    @pytest.mark.parametrize(
        ("content", "names"),
        [
            (b'{"auths": {', "is not JSON"),
            (b"[1]", "is not a JSON object"),
            (b'{"auths": [1]}', "auths in .* is not an object"),
            (b'{"credsStore": 5}', "credsStore in .* is not the name of a credential helper"),
            (b'{"credHelpers": ["x"]}', "credHelpers in .* is not an object"),
            (b'{"credHelpers": {"registry.test": 5}}', r"registry\.test in .* is not the name"),
            (b'{"credsStore": "desktop"}', "docker-credential-desktop that .* names is not installed"),
            (b'{"credHelpers": {"registry.test": "no\\u0000such"}}', "is not installed"),
        ],
    )
    def test_a_refused_pull_says_what_could_not_be_read(
        self, engine: StubServer, platform: DockerPlatform, config: Path, content: bytes, names: str
    ) -> None:
        """The pull is tried without credentials, as the docker program does it; an image in public needs none."""
        config.write_bytes(content)
        platform.prepare(of_image())
        engine.answers["POST /images/create"] = says({"message": "pull access denied for x"}, 404)
        with pytest.raises(SubmissionRefused, match=names):
            platform.prepare(of_image())

    @pytest.mark.parametrize(
        "content",
        [
            b"\xef\xbb\xbf" + auths({"registry.test": GOOD}),
            auths({"registry.test": GOOD}).decode().encode("utf-16"),
            json.dumps({"Auths": {"registry.test": {"Auth": GOOD["auth"]}}}).encode(),
            json.dumps({"registry.test": GOOD}).encode(),
            auths({"registry.test": {"username": "me", "password": SECRET}}),
            auths({"registry.test": {**GOOD, "identitytoken": "", "email": None}}),
            auths({"registry.test": GOOD}, credsStore="not-installed"),
            auths({"registry.test": {"auth": f" {GOOD['auth']}\n"}}),
            auths({"http://registry.test": {"auth": "!"}, "https://registry.test": GOOD}),
        ],
        ids=["BOM", "UTF-16", "large letters", "oldest JSON", "plain", "nulls", "no helper", "blanks", "two entries"],
    )
    def test_odd_forms_of_a_good_login_are_used(
        self, engine: StubServer, platform: DockerPlatform, config: Path, content: bytes
    ) -> None:
        """As the docker program does, or better."""
        config.write_bytes(content)
        platform.prepare(of_image())
        assert [(each["username"], each["password"]) for each in logins(engine)] == [("me", SECRET)]

    @pytest.mark.parametrize("name", ["identitytoken", "registrytoken"])
    def test_a_token_is_sent(self, engine: StubServer, platform: DockerPlatform, config: Path, name: str) -> None:
        """Instead of a password; it is a secret that the agent hides."""
        config.write_bytes(auths({"registry.test": {name: SECRET}}))
        platform.prepare(of_image())
        assert [list(each.values()) for each in logins(engine)] == [[SECRET]]
        assert SECRET in platform.secrets

    def test_a_file_nested_too_deeply_is_named(self, platform: DockerPlatform, config: Path) -> None:
        """No traceback."""
        config.write_bytes(b"[" * 200_000)
        with pytest.raises(ConfigurationError, match=str(config)):
            platform.check()


class TestPlaces:
    """Where the file is."""

    def test_a_folder_of_its_name(self, engine: StubServer, platform: DockerPlatform, config: Path) -> None:
        """As Docker makes one for a mount whose source was not there."""
        config.mkdir()
        platform.check()
        platform.prepare(of_image())
        engine.answers["POST /images/create"] = says(b'{"error":"denied: no"}\n')
        with pytest.raises(SubmissionRefused, match=f"{config} cannot be read: Is a directory"):
            platform.prepare(of_image())

    @pytest.mark.parametrize("closed", ["config.json", ".", ".."], ids=["file", "folder", "above"])
    def test_what_may_not_be_read(self, closed: str) -> None:
        """A home of another user, say: the file is named, with the system's words."""
        with tempfile.TemporaryDirectory() as name:
            Path(name).chmod(0o755)
            folder = Path(name) / "home" / "docker"
            folder.mkdir(parents=True)
            (folder / "config.json").write_bytes(auths({"registry.test": GOOD}))
            (folder / closed).chmod(0)
            look = "from prefect.agent.adapters.docker.credentials import login; print(login('registry.test').problem)"
            env = {**python_path(), "DOCKER_CONFIG": str(folder), "HOME": name}
            said = subprocess.run(
                [python(), "-c", look], env=env, cwd="/", capture_output=True, check=False, **as_someone()
            )
            (folder / closed).chmod(0o755)
        where = folder if closed == ".." else folder / "config.json"
        assert said.stdout.decode().strip() == f"{where} cannot be read: Permission denied"

    @pytest.mark.parametrize(
        "folder", ["x" * 5000, "/dev/null", "/no/such/folder", "~", "."], ids=lambda text: text[:9]
    )
    def test_a_folder_that_is_none(
        self, platform: DockerPlatform, monkeypatch: pytest.MonkeyPatch, folder: str
    ) -> None:
        """The agent starts and pulls."""
        monkeypatch.setenv("DOCKER_CONFIG", folder)
        platform.check()
        platform.prepare(of_image())

    def test_docker_config_is_a_folder(
        self, engine: StubServer, platform: DockerPlatform, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The path of the file itself is a common mistake."""
        config.write_bytes(auths({"registry.test": GOOD}))
        monkeypatch.setenv("DOCKER_CONFIG", str(config))
        engine.answers["POST /images/create"] = says(b'{"error":"denied: no"}\n')
        with pytest.raises(SubmissionRefused, match=f"DOCKER_CONFIG is the file {config}"):
            platform.prepare(of_image())
        at_home(config).write_bytes(auths({"registry.test": GOOD}))
        with pytest.raises(SubmissionRefused):
            platform.prepare(of_image())
        assert [each.get("password") for each in logins(engine)] == [None, SECRET]

    def test_the_file_at_home(
        self, engine: StubServer, platform: DockerPlatform, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where DOCKER_CONFIG is not set."""
        monkeypatch.delenv("DOCKER_CONFIG")
        at_home(config).write_bytes(auths({"registry.test": GOOD}))
        platform.prepare(of_image())
        assert [each["password"] for each in logins(engine)] == [SECRET]


def at_home(config: Path) -> Path:
    """The other place of the file."""
    own = config.parent / "home" / ".docker"
    own.mkdir(parents=True)
    return own / "config.json"


def helper(config: Path, text: str) -> None:
    """Write a credential helper, and name it for all registries."""
    config.write_text(json.dumps({"credsStore": "lab"}))
    script = config.parent / "docker-credential-lab"
    script.write_text(f"#!/bin/sh\ncat > /dev/null\n{text}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


ANSWERS: Final = {
    "a text": f"echo please log in, {SECRET}",
    "nothing": "true",
    "null": "echo null",
    "a list": f"""echo '["{SECRET}"]'""",
    "a number": "echo 5",
    "no secret": """echo '{"Username": "me"}'""",
    "a secret that is null": """echo '{"Username": "me", "Secret": null}'""",
    "a username that is a number": f"""echo '{{"Username": 5, "Secret": "{SECRET}"}}'""",
    "not UTF-8": r"printf '\377\376'",
    "text before JSON": f"""echo update available; echo '{{"Username":"me","Secret":"{SECRET}"}}'""",
    "a failure that shows the secret": f"""echo '{{"Username":"me","Secret":"{SECRET}"}}'; exit 1""",
    "a failure that is not UTF-8": r"printf '\377'; exit 1",
}


class TestHelpers:
    """Credential helpers that answer something else than a login."""

    @pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
    def test_the_helper_is_named_and_no_secret(self, platform: DockerPlatform, config: Path, text: str) -> None:
        """The run waits: a helper that is locked now may be open later."""
        helper(config, text)
        with pytest.raises(PlatformUnavailable, match="docker-credential-lab does not work") as problem:
            platform.prepare(of_image())
        said = "".join(traceback.format_exception(problem.value))
        assert SECRET not in said
        assert "Expecting value" not in str(problem.value)

    @pytest.mark.parametrize("text", ANSWERS.values(), ids=ANSWERS)
    def test_the_image_that_is_here_will_do(
        self,
        engine: StubServer,
        platform: DockerPlatform,
        config: Path,
        text: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The log names the helper."""
        helper(config, text)
        engine.answers["GET /images/registry.test/x:1/json"] = says({"Id": "x"})
        platform.prepare(of_image())
        assert "docker-credential-lab" in caplog.text
        assert SECRET not in caplog.text

    def test_a_helper_that_cannot_be_started_is_named(self, platform: DockerPlatform, config: Path) -> None:
        """It is in the path, but no program."""
        helper(config, "")
        (config.parent / "docker-credential-lab").write_bytes(b"\x7fELF nothing")
        with pytest.raises(PlatformUnavailable, match="docker-credential-lab does not work: it cannot be started"):
            platform.prepare(of_image())

    def test_a_helper_of_another_registry_does_not_matter(
        self, engine: StubServer, platform: DockerPlatform, config: Path
    ) -> None:
        """It is not even asked."""
        helper(config, f"touch {config.parent}/asked; exit 1")
        config.write_bytes(auths({"registry.test": GOOD}, credHelpers={"other.example": "lab"}))
        platform.prepare(of_image())
        assert [each["password"] for each in logins(engine)] == [SECRET]
        assert not (config.parent / "asked").exists()


class TestProxies:
    """Of the file, for the containers."""

    def test_only_texts_get_into_the_environment(self, engine: StubServer, config: Path) -> None:
        """Whatever stands beside them."""
        proxies = {"HTTPProxy": "http://proxy.test:1", "httpsProxy": 5, "noProxy": ["a"], "ftpProxy": None}
        config.write_bytes(b"\xef\xbb\xbf" + json.dumps({"proxies": {"default": proxies, "tcp://x": None}}).encode())
        assert credentials.general()["proxies"] == {"default": {"httpProxy": "http://proxy.test:1"}}
        with contextlib.closing(DockerPlatform(base_url=engine.address)) as platform:
            platform.check()

    @pytest.mark.parametrize(
        "headers",
        [{"X": "日本"}, {"日": "x"}, {" X": "x"}, {"X": " x"}, {"": "x"}, {":": "x"}, {"X": "a\nb"}, {"X\n": "x"}],
        ids=repr,
    )
    def test_headers_that_http_cannot_carry_are_left_out(
        self, engine: StubServer, platform: DockerPlatform, config: Path, headers: dict[str, str]
    ) -> None:
        """Others are sent to the engine."""
        config.write_bytes(json.dumps({"HttpHeaders": {**headers, "X-Good": "yes"}}).encode())
        platform.check()
        assert [sent.get("X-Good") for line, sent in engine.headers if line == "GET /_ping"] == ["yes"]
