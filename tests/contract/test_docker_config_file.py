"""Docker's ``config.json`` in the forms that people have, with a real engine; other registries do not matter."""

import base64
import contextlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from docker.api.client import APIClient
from docker.errors import ImageNotFound
from docker.utils import kwargs_from_env

from prefect.agent.adapters.docker import credentials
from prefect.agent.domain.errors import PlatformUnavailable
from prefect.agent.domain.model.units import UnitStatus
from support.docker_lab import RUN, Lab, ended

pytestmark = pytest.mark.docker

REGISTRY: Final = "127.0.0.1:1"
OTHER: Final = "other.example"
SECRET: Final = "pa55-word"
GOOD: Final = base64.b64encode(f"me:{SECRET}".encode()).decode()

ODD: Final[dict[str, str]] = {
    "empty file": "",
    "blank": " \n",
    "no JSON": "{auths: }",
    "cut": '{"auths": {',
    "null": "null",
    "list": "[]",
    "text": '"auths"',
    "number": "1",
    "empty object": "{}",
    "byte order mark": '\ufeff{"auths": {}}',
    "null proxies": '{"proxies": null}',
    "list of proxies": '{"proxies": ["http://p"]}',
    "text for proxies": '{"proxies": "http://p"}',
    "null default proxy": '{"proxies": {"default": null}}',
    "text for default proxy": '{"proxies": {"default": "http://p"}}',
    "null in a proxy": '{"proxies": {"default": {"httpProxy": null, "noProxy": ["a"]}}}',
    "null auths": '{"auths": null}',
    "list of auths": '{"auths": []}',
    "text for auths": '{"auths": "x"}',
    "other entry null": json.dumps({"auths": {OTHER: None}}),
    "other entry text": json.dumps({"auths": {OTHER: SECRET}}),
    "other entry not base64": json.dumps({"auths": {OTHER: {"auth": "%%%"}}}),
    "other entry without colon": json.dumps({"auths": {OTHER: {"auth": base64.b64encode(b"me").decode()}}}),
    "other entry not UTF-8": json.dumps({"auths": {OTHER: {"auth": base64.b64encode(b"\xff:\xff").decode()}}}),
    "other entry not ASCII": json.dumps({"auths": {OTHER: {"auth": "ü"}}}),
    "other entry a number": json.dumps({"auths": {OTHER: {"auth": 5}}}),
    "other entry null auth": json.dumps({"auths": {OTHER: {"auth": None}}}),
    "credsStore null": '{"credsStore": null}',
    "credsStore object": '{"credsStore": {"a": "b"}}',
    "credsStore empty": '{"credsStore": ""}',
    "credHelpers null": '{"credHelpers": null}',
    "credHelpers list": '{"credHelpers": ["ecr-login"]}',
    "credHelpers of another": json.dumps({"credHelpers": {OTHER: "not-installed", "x": None, "y": 5}}),
    "null headers": '{"HttpHeaders": null}',
    "list of headers": '{"HttpHeaders": ["a"]}',
    "header of two lines": '{"HttpHeaders": {"X-A": "a\\nb", "X-B": null, "X-C": 5, "X-D": "\\u20ac"}}',
    "header that looks like an entry": '{"HttpHeaders": {"auth": "%%%"}}',
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, still to be written; programs beside it are found."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    return tmp_path / "config.json"


@pytest.fixture
def lab(small_image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The engine, whose own client reads no configuration."""
    with monkeypatch.context() as patched:
        patched.setenv("DOCKER_CONFIG", "/nowhere")
        lab = Lab(APIClient(version="auto", **kwargs_from_env()), small_image)
    yield lab
    lab.clean()


@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
def test_an_odd_file_stops_nothing(
    lab: Lab, place: Path, text: str, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    """Units are made, and a registry that the file says nothing of is asked without credentials."""
    place.write_text(text, encoding="utf-8")
    platform = lab.platform()
    platform.check()
    if "prox" in request.node.name or "header" in request.node.name:  # only these go into containers
        assert ended(platform, lab.submission("exit 0")).status is UnitStatus.SUCCEEDED
    assert credentials.header(REGISTRY) is None
    assert SECRET not in caplog.text


def test_a_file_that_is_nested_too_deeply_is_named(lab: Lab, place: Path) -> None:
    """The SDK cannot be kept from reading it."""
    place.write_text("[" * 100_000)
    with pytest.raises(PlatformUnavailable, match=r"config\.json"):
        lab.platform().check()
    assert credentials.header(REGISTRY) is None


def test_a_file_that_may_not_be_read_stops_nothing(lab: Lab, place: Path) -> None:
    """Nor one that is a directory."""
    place.mkdir()
    lab.platform().check()
    assert credentials.header(REGISTRY) is None


@pytest.mark.parametrize(
    "entries",
    [
        {REGISTRY: {"auth": GOOD}},
        {f"https://{REGISTRY}/v1/": {"auth": GOOD}},
        {OTHER: {"auth": "%%%"}, REGISTRY: {"auth": GOOD}},
        {OTHER: None, REGISTRY: {"auth": GOOD, "identitytoken": None}},
        {REGISTRY: {"username": "me", "password": SECRET}},
        {REGISTRY: {"username": "me", "password": SECRET, "auth": ""}},
    ],
)
def test_the_entry_of_the_registry_is_used(place: Path, entries: dict[str, Any]) -> None:
    """However odd its neighbours are."""
    for content in ({"auths": entries}, entries):
        if content is entries and "auth" not in str(entries):
            continue
        place.write_text(json.dumps(content))
        found = credentials.header(REGISTRY)
        if content is entries and found is None:  # a bare entry is known by its auth
            assert not entries[REGISTRY].get("auth")
            continue
        sent = json.loads(base64.urlsafe_b64decode(found or b""))
        assert (sent["username"], sent["password"]) == ("me", SECRET)


@pytest.mark.parametrize(
    "entry",
    [SECRET, [SECRET], 5, {"auth": SECRET}, {"auth": [SECRET]}, {"auth": "ü"}, {"identitytoken": {"a": SECRET}}],
)
def test_a_broken_entry_of_the_registry_is_named(place: Path, entry: object) -> None:
    """With its file, and without what it holds."""
    place.write_text(json.dumps({"auths": {REGISTRY: entry}}))
    with pytest.raises(PlatformUnavailable) as problem:
        credentials.header(REGISTRY)
    assert repr(REGISTRY) in str(problem.value)
    assert str(place) in str(problem.value)
    assert SECRET not in str(problem.value)
    assert problem.value.__cause__ is None


@pytest.mark.parametrize(
    "script",
    [
        f"echo {SECRET}",
        "true",
        "echo null",
        "echo []",
        f"""echo '"{SECRET}"'""",
        """echo '{}'""",
        """echo '{"Username": null, "Secret": null}'""",
        f"""echo '{{"Username": "me", "Secret": ["{SECRET}"]}}'""",
        r"printf '\377'",
        "echo locked >&2; exit 3",
        "exit 1",
        "sleep 600",
    ],
)
@pytest.mark.parametrize("section", ["credsStore", "credHelpers"])
def test_a_helper_that_is_broken_is_named_and_the_image_here_is_used(
    lab: Lab, place: Path, script: str, section: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The run's message names the program and the file, never what the program printed as its answer."""
    monkeypatch.setattr(credentials, "HELPER_DEADLINE", 0.3 if "sleep" in script else 20.0)
    place.write_text(json.dumps({section: "lab" if section == "credsStore" else {REGISTRY: "lab"}}))
    helper = place.parent / "docker-credential-lab"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o700)
    image = f"{REGISTRY}/test-{RUN}/{uuid.uuid4().hex[:8]}:1"
    platform = lab.platform(no_pull=False)
    with pytest.raises(PlatformUnavailable) as problem:
        platform.prepare(lab.submission(image=image))
    assert "docker-credential-lab" in str(problem.value)
    assert str(place) in str(problem.value)
    assert SECRET not in str(problem.value)
    lab.client.tag(lab.image, image.rpartition(":")[0], "1")
    try:
        platform.prepare(lab.submission(image=image))
        assert "docker-credential-lab" in caplog.text
    finally:
        lab.clean()
        client = APIClient(version="auto", **kwargs_from_env())
        with contextlib.suppress(ImageNotFound):
            client.remove_image(image, force=True)
        client.close()


def test_a_helper_that_is_not_installed_is_named(place: Path) -> None:
    """A file that was copied from another machine often names one."""
    place.write_text(json.dumps({"credsStore": "not-installed"}))
    with pytest.raises(PlatformUnavailable, match="docker-credential-not-installed is not installed"):
        credentials.header(REGISTRY)
