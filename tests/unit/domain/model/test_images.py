"""Names of images in one form."""

import pytest
from docker.auth import resolve_repository_name
from docker.utils import parse_repository_tag
from hypothesis import given
from hypothesis import strategies as st

from prefect.agent.domain.model.images import image_name, image_reference

DIGEST = "sha256:" + "a" * 64
WORD = st.from_regex(r"[a-z0-9]{1,8}([._-][a-z0-9]{1,8})?", fullmatch=True)
HOST = st.from_regex(r"[a-z0-9]{1,8}\.example(:[1-9][0-9]{0,3})?", fullmatch=True)


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest"),
        ("index.docker.io/team/flow", "docker.io/team/flow:latest"),
        ("team/flow", "docker.io/team/flow:latest"),
        ("localhost/flow", "localhost/flow:latest"),
        ("localhost:5000/flow:2", "localhost:5000/flow:2"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        ("registry.example.com/a/b/c", "registry.example.com/a/b/c:latest"),
        ("[::1]:5000/flow", "[::1]:5000/flow:latest"),
        ("Registry.Example.COM:443/a", "registry.example.com/a:latest"),
        ("registry-1.docker.io/team/flow", "docker.io/team/flow:latest"),
        ("Registry.Hub.Docker.com/team/flow", "docker.io/team/flow:latest"),
        ("INDEX.docker.io:443/team/flow", "docker.io/team/flow:latest"),
        ("TEAM/flow", "TEAM/flow:latest"),
        (f"flow@{DIGEST}", f"docker.io/library/flow@{DIGEST}"),
        (f"flow:1@{DIGEST}", f"docker.io/library/flow:1@{DIGEST}"),
    ],
)
def test_a_name_is_completed_as_an_engine_does_it(text: str, reference: str) -> None:
    """Registry, ``library/`` and ``latest`` are filled in."""
    assert image_reference(text) == reference


@pytest.mark.parametrize("text", ["cafe", "sha256:cafe", "a1b2c3d4e5f6", DIGEST])
def test_what_may_be_an_id_is_no_name(text: str) -> None:
    """An engine runs an image that it has by the beginning of its id: a rule about names must not take it for one."""
    assert image_reference(text).startswith("sha256:")
    assert image_reference("cafe:latest") == "docker.io/library/cafe:latest"


@pytest.mark.parametrize(
    "text", ["", " ", "a b", "UPPER", "https://x/y", "a//b", "a@b", "x:y:z", "../x", "a/\n", "é", "x" * 300]
)
def test_what_is_no_name_keeps_a_mark(text: str) -> None:
    """No pattern but ``*`` matches it, whatever it looks like."""
    assert image_reference(text) == f"?{text}"


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("docker.io/library/flow:1", "docker.io/library/flow"),
        (f"host:5000/flow:1@{DIGEST}", "host:5000/flow"),
        (f"host:5000/flow@{DIGEST}", "host:5000/flow"),
        ("sha256:cafe", "sha256:cafe"),
    ],
)
def test_the_name_is_without_tag_and_digest(reference: str, name: str) -> None:
    """A port is part of the name."""
    assert image_name(reference) == name


@given(host=st.none() | HOST, path=st.lists(WORD, min_size=1, max_size=3), tag=st.none() | WORD)
def test_it_agrees_with_the_parser_of_the_docker_sdk(host: str | None, path: list[str], tag: str | None) -> None:
    """About registry and tag; the SDK itself is too slow to load for the agents that do without it."""
    text = "/".join([*([host] if host else []), *path]) + (f":{tag}" if tag else "")
    repository, said = parse_repository_tag(text)
    registry, _ = resolve_repository_name(repository)
    found = image_reference(text)
    if not found.startswith("sha256:"):
        assert found.startswith(f"{registry}/")
        assert found.endswith(f":{said or 'latest'}")
    assert image_reference(found) == found
