"""What looks like a mistake in the configuration is a warning, and an error if the configuration is strict."""

from pathlib import Path

import pytest

from prefect.agent.adapters.fakes import InMemoryCloudApi, InMemoryPlatform
from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.library.agent import Agent
from prefect.agent.entrypoints.settings.doubts import listed_labels
from prefect.agent.ports.events import Event


@pytest.mark.parametrize(
    ("label", "meant"),
    [
        ("a,b", "--label a --label b"),
        ('["a"]', "--label a"),
        ("['a', 'b']", "--label a --label b"),
        ("[a, b]", "--label a --label b"),
        ("a, b,", "--label a --label b"),
        ('"a"', "--label a"),
        ("('a',)", "--label a"),
        ("a]", "--label a"),
    ],
)
def test_a_label_that_looks_like_a_list_is_named_with_what_may_be_meant(label: str, meant: str) -> None:
    """It is one label, which no flow has."""
    assert list(listed_labels(["gpu", label])) == [
        f"The label {label!r} is one label, but looks like a list: do you mean {meant}?"
    ]


def test_several_such_labels_are_one_sentence() -> None:
    """Two options of which each is a list."""
    (said,) = listed_labels(["a,b", "[c]"])

    assert said.endswith("do you mean --label a --label b --label c?")
    assert "'a,b', '[c]'" in said


@pytest.mark.parametrize("label", ["gpu", "a-b", "team:data", "two words", "it's", "v1.2", "a(b)c"])
def test_an_ordinary_label_is_no_list(label: str) -> None:
    """Only what begins and ends like a list, or has a comma."""
    assert list(listed_labels([label])) == []


@pytest.mark.parametrize("label", ["[]", ",", "[["])
def test_a_list_without_labels_is_to_be_removed(label: str) -> None:
    """Nothing can be meant by it."""
    (said,) = listed_labels([label])

    assert said.endswith("looks like a list: remove it")


def doubtful(home: Path, heard: list[Event], *, strict: bool | None = None, **environ: str) -> Agent:
    """An agent with a doubtful file, variable and label."""
    (home / ".prefect").mkdir(exist_ok=True)
    (home / ".prefect" / "config.toml").write_text('[cloud.agent]\nlables = ["x"]\nname = "n"\n')
    variables = {"HOME": str(home), "PREFECT_AGENT_LIMITS": "3", "PREFECT_AGENT_POLICY": "restricted", **environ}
    ports = {"cloud": InMemoryCloudApi(), "platform": InMemoryPlatform()}
    return Agent(**ports, tell=heard.append, environ=variables, labels=["a,b"], max_polls=1, strict=strict)  # type: ignore[arg-type]


def test_an_agent_warns_of_each_doubt_once_and_starts(tmp_path: Path) -> None:
    """A key, a variable, a label."""
    heard: list[Event] = []
    doubtful(tmp_path, heard).start()

    warned = [event.message for event in heard if event.level == "WARNING"]
    assert warned == [
        "cloud.agent.lables is not a setting of the agent: do you mean cloud.agent.labels?",
        "PREFECT_AGENT_LIMITS is not a setting of the agent: do you mean PREFECT_AGENT_LIMIT?",
        "The label 'a,b' is one label, but looks like a list: do you mean --label a --label b?",
    ]


@pytest.mark.parametrize("environ", [{}, {"PREFECT_AGENT_STRICT": "true"}])
def test_a_strict_agent_refuses_all_doubts_at_once(tmp_path: Path, environ: dict[str, str]) -> None:
    """By argument or by variable; the error names each of them, so that one correction is enough."""
    with pytest.raises(ConfigurationError) as refused:
        doubtful(tmp_path, [], strict=None if environ else True, **environ)

    for name in ("cloud.agent.lables", "PREFECT_AGENT_LIMITS", "'a,b'"):
        assert name in str(refused.value)


def test_a_strict_agent_without_doubts_starts() -> None:
    """Settings of others, such as those of the 1.x client, are no doubts."""
    environ = {"PREFECT__LOGGING__FORMAT": "x", "PREFECT_AGENT_STRICT": "yes", "PREFECT_AGENT_POLICY": "restricted"}
    heard: list[Event] = []
    Agent(
        cloud=InMemoryCloudApi(), platform=InMemoryPlatform(), tell=heard.append, environ=environ, max_polls=1
    ).start()

    assert [event.message for event in heard if event.level == "WARNING"] == []
