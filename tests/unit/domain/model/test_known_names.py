"""Which flow or run a person may mean by a name that there is not."""

import pytest

from prefect.agent.domain.model.known_names import KnownNames
from prefect.agent.domain.model.orders import FlowReference, flow_reference

NAMES = KnownNames(
    flows=[
        FlowReference(name="hello", project="tutorial"),
        FlowReference(name="etl", project="marketing analytics"),
        FlowReference(name="etl", project="sales"),
        FlowReference(name="report", project="a/b"),
        FlowReference(name="projectless"),
    ],
    runs=["crimson-dolphin", "azure-otter"],
)


@pytest.mark.parametrize(
    ("text", "project", "said"),
    [
        ("helo", "", "did you mean 'tutorial/hello'?"),
        ("Hello", "", "did you mean 'tutorial/hello'?"),
        ("tutorial/helo", "", "did you mean 'tutorial/hello'?"),
        ("hello/tutorial", "", "did you mean 'tutorial/hello'?"),
        ("Hello/Tutorail", "", "did you mean 'tutorial/hello'?"),
        ("hello", "tutrial", "did you mean 'tutorial/hello'?"),
        ("tutorial/hello", "tutorial", "did you mean 'tutorial/hello'?"),
        ("elt", "", "did you mean 'marketing analytics/etl' or 'sales/etl'?"),
        ("etl", "sale", "did you mean 'sales/etl' or 'marketing analytics/etl'?"),
        ("reprot", "", "did you mean 'report' with --project 'a/b'?"),
        ("project-less", "", "did you mean 'projectless'?"),
        ("nothing-like-it", "", ""),
        ("nothing-like-it", "tutorial", ""),
        ("zzz/marketing analytics", "", ""),
    ],
)
def test_a_flow_that_may_be_meant(text: str, project: str, said: str) -> None:
    """By its name; that the project is right alone means nothing."""
    assert NAMES.of_flow(flow_reference(text, project)) == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("crimson-dolfin", "did you mean 'crimson-dolphin'?"),
        ("Crimson-Dolphin", "did you mean 'crimson-dolphin'?"),
        ("etl", ""),
        ("", ""),
    ],
)
def test_a_run_that_may_be_meant(name: str, said: str) -> None:
    """By its name."""
    assert NAMES.of_run(name) == said


def test_names_that_are_alike_are_three_at_most() -> None:
    """The first ones; what is shown of a name cannot act on a terminal."""
    many = KnownNames(runs=[f"run-{number}\x1b[2J" for number in range(9)])

    assert many.of_run("run-") == r"did you mean 'run-0\x1b[2J' or 'run-1\x1b[2J' or 'run-2\x1b[2J'?"


def test_without_names_nothing_is_meant() -> None:
    """A Cloud that cannot say has none."""
    assert (KnownNames().of_flow(FlowReference(name="etl")), KnownNames().of_run("etl")) == ("", "")
