"""Unit names (promise P1), evidence and submissions."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prefect.agent.domain.model.flow_runs import FlowRunId, SimpleAttempt
from prefect.agent.domain.model.submissions import Submission
from prefect.agent.domain.model.units import Evidence, Owner, UnitStatus, owner, unit_name
from support.builders import an_id

UUIDS = st.uuids().map(str)
ATTEMPTS = st.one_of(
    st.integers(min_value=0).map(str),
    st.tuples(st.integers(min_value=0, max_value=10**6), st.binary(min_size=4, max_size=4)).map(
        lambda pair: f"{pair[0]}-{pair[1].hex()}"
    ),
)
ODD_TEXT = st.text(alphabet="aAzZ09-_/. é%", max_size=80)
PAIRS = st.tuples(st.one_of(UUIDS, ODD_TEXT), st.one_of(ATTEMPTS, ODD_TEXT))


def name_of(pair: tuple[str, str]) -> str:
    """The unit name of run id and attempt."""
    return unit_name(FlowRunId(pair[0]), SimpleAttempt(pair[1]))


@given(PAIRS)
def test_every_name_is_a_dns_1123_label(pair: tuple[str, str]) -> None:
    """Whatever ids a backend invents, the name fits the strictest platform: RFC 1123, at most 63 characters."""
    name = name_of(pair)

    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name)


@given(PAIRS)
def test_a_name_is_a_pure_function(pair: tuple[str, str]) -> None:
    """Equal run and attempt give the equal name, in every agent and at any time."""
    assert name_of(pair) == name_of((str(pair[0]), str(pair[1])))


@given(PAIRS, PAIRS)
@example(("a/b", "c"), ("a", "b/c"))
@example(("A", "1"), ("a", "1"))
@example(("a-b", "1"), ("a", "b-1"))
@example(("a" * 80, "1"), ("a" * 80, "2"))
def test_different_pairs_never_share_a_name(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Two units with one name would make the platform refuse the second: its run would never start."""
    assert (name_of(one) == name_of(other)) == (one == other)


def test_the_usual_name_can_be_read() -> None:
    """A person finds a unit by the run's id and sees which version was claimed."""
    assert unit_name(an_id(7), SimpleAttempt("3")) == f"prefect-{an_id(7)}-3"


def test_an_id_with_half_a_surrogate_pair_has_a_name() -> None:
    """JSON may hold half a surrogate pair; an id with one must not stop the whole batch of claims."""
    assert len(name_of(("\ud800", "1"))) <= 63


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (Evidence(exit_code=137, reason="OOMKilled"), "OOMKilled, exit code 137"),
        (Evidence(exit_code=0), "exit code 0"),
        (Evidence(reason="Killed", message="gone"), "Killed, gone"),
        (Evidence(), "no evidence"),
    ],
)
def test_evidence_says_all_it_knows(evidence: Evidence, words: str) -> None:
    """A run's log names reason, message and exit code, as far as there are any; exit code 0 is one."""
    assert str(evidence) == words


def test_only_two_statuses_are_ends() -> None:
    """A unit that waits for its image or node has not ended."""
    assert {status for status in UnitStatus if status.has_ended} == {UnitStatus.SUCCEEDED, UnitStatus.FAILED}


def test_a_submission_does_not_show_its_secrets() -> None:
    """Promise P5: what lands in a log by accident holds no key."""
    submission = Submission(
        name="n", flow_run_id=an_id(), attempt="1", command=("x",), secret_env={"KEY": "s3cr3t"}, env={"A": "b"}
    )

    assert "s3cr3t" not in repr(submission)


def test_a_submission_refuses_a_name_no_platform_takes() -> None:
    """A name of 64 characters is a bug, found at birth."""
    with pytest.raises(ValueError, match="63"):
        Submission(name="n" * 64, flow_run_id=an_id(), attempt="1", command=("x",))


# --- marks ---


def test_agents_of_one_cloud_share_its_mark() -> None:
    """What is judged, stopped and removed is the Cloud's and tenant's; what is counted is the agent's."""
    one, twin = owner("cloud:tenant", "ann", ["a", "b"]), owner("cloud:tenant", "ann", ["b", "a"])
    sibling, tenant = owner("cloud:tenant", "ann", ["a"]), owner("cloud:other", "ann", ["a", "b"])

    assert one == twin
    assert (sibling.cloud == one.cloud, sibling.agent == one.agent) == (True, False)
    assert tenant.cloud != one.cloud


@given(st.text(max_size=50), st.text(max_size=50), st.lists(st.text(max_size=9), max_size=3, unique=True))
def test_a_mark_fits_every_platform(cloud: str, name: str, labels: list[str]) -> None:
    """Letters and digits only, whatever the Cloud is called."""
    marks = owner(cloud, name, labels)

    assert re.fullmatch(r"[0-9a-z]{1,32}", marks.cloud)
    assert re.fullmatch(r"[0-9a-z]{1,32}", marks.agent)


@pytest.mark.parametrize("mark", ["", "A", "a b", "a" * 33])
def test_an_unreadable_mark_is_refused(mark: str) -> None:
    """A platform's label that this product did not write marks nothing."""
    with pytest.raises(ValueError, match="cloud"):
        Owner(cloud=mark, agent="a")


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (0, {}, "exit code 0"),
        (0, {"reason": "Completed", "message": "done"}, "done, exit code 0"),
        (1, {}, "Error, exit code 1"),
        (
            1,
            {"reason": "ContainerCannotRun", "message": "no such file"},
            "ContainerCannotRun, no such file, exit code 1",
        ),
        (128, {}, "Error, exit code 128"),
        (137, {}, "Killed, ended by signal 9, exit code 137"),
        (137, {"reason": "Error"}, "Killed, ended by signal 9, exit code 137"),
        (143, {"message": "asked to end"}, "Killed, asked to end, exit code 143"),
        (192, {}, "Killed, ended by signal 64, exit code 192"),
        (193, {}, "Error, exit code 193"),
        (255, {}, "Error, exit code 255"),
        (-1, {}, "Error, exit code -1"),
    ],
)
def test_an_exit_code_is_read_by_one_rule(code: int, said: dict[str, str], words: str) -> None:
    """128 and a signal's number names the signal; there are no signals above 64."""
    evidence = Evidence.of_exit_code(code, **said)

    assert (str(evidence), evidence.exit_code) == (words, code)
