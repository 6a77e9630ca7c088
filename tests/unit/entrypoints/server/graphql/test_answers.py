"""What the executor says that a request did: HTTP relies on this instead of looking at bytes."""

import pytest

from prefect.agent.entrypoints.server.graphql.answers import ApiAnswer, Operation
from prefect.agent.entrypoints.server.storage.database import Tx
from support.embedded import LATER, Embedded

READY = f'get_runs_in_queue(input: {{ before: "{LATER}" }}) {{ flow_run_ids }}'
OLD_READY = f'getRunsInQueue(input: {{ before: "{LATER}" }}) {{ flow_run_ids }}'
NEW_PROJECT = 'create_project(input: { name: "new" }) { id }'


def execute(cloud: Embedded, document: str) -> ApiAnswer:
    """Execute one document without variables."""
    return cloud.execute({"query": document, "variables": None}, {})


@pytest.fixture
def run(cloud: Embedded) -> str:
    """The id of a flow run that is ready."""
    return cloud.run(cloud.flow(cloud.project()))


@pytest.mark.parametrize("field", [READY, f"other_key: {READY}", OLD_READY])
def test_a_request_for_ready_runs_names_the_runs_it_was_given(cloud: Embedded, run: str, field: str) -> None:
    """In the words of 0.6 as well, and whatever key the client gives the field."""
    answer = execute(cloud, f"mutation {{ {field} }}")

    assert (answer.ready_runs, answer.root_fields, answer.operation) == ({run}, 1, Operation.MUTATION)


@pytest.mark.parametrize("selection", ["ids: flow_run_ids", "flow_run_ids __typename"])
def test_the_selected_keys_do_not_matter(cloud: Embedded, run: str, selection: str) -> None:
    """The mutation itself says what it gave; the shape of the answer does not."""
    answer = execute(cloud, f"mutation {{ {READY.replace('flow_run_ids', selection)} }}")

    assert answer.ready_runs == {run}


def test_several_questions_for_ready_runs_are_one_set(cloud: Embedded, run: str) -> None:
    """An agent asks for several sets of labels in one request."""
    other = READY.replace("before:", 'labels: ["x"], before:')
    answer = execute(cloud, f"mutation {{ a: {READY} b: {other} }}")

    assert (answer.ready_runs, answer.root_fields) == ({run}, 2)
    assert answer.body["data"] == {"a": {"flow_run_ids": [run]}, "b": {"flow_run_ids": []}}


def test_no_ready_run_is_an_empty_set(cloud: Embedded) -> None:
    """An empty set means that the request may wait; None means that it may not."""
    assert execute(cloud, f"mutation {{ {READY} }}").ready_runs == frozenset()


@pytest.mark.parametrize(
    "document",
    [
        f"mutation {{ {READY} {NEW_PROJECT} }}",
        f"mutation {{ {NEW_PROJECT} {READY} }}",
        f'mutation {{ {READY} missing: get_runs_in_queue(input: {{ before: "x" }}) {{ flow_run_ids }} }}',
        "query { flow_run { id } }",
        "query { flow_run { flow_run_ids: id } }",
        "mutation { nothing }",
        "{",
    ],
)
def test_a_request_that_asks_for_anything_else_may_not_be_repeated(cloud: Embedded, document: str) -> None:
    """Only what asks for ready runs and changes nothing may be executed more than once."""
    assert execute(cloud, document).ready_runs is None


def test_a_change_says_that_it_changed_rows(cloud: Embedded) -> None:
    """It wakes the requests that wait for flow runs."""
    answer = execute(cloud, f"mutation {{ {NEW_PROJECT} }}")

    assert (answer.has_changed_rows, answer.operation) == (True, Operation.MUTATION)


def test_a_query_changes_no_rows(cloud: Embedded) -> None:
    """Although the word "mutation" is in its text."""
    answer = execute(cloud, 'query mutation { flow(where: { name: { _eq: "mutation" } }) { id } }')

    assert (answer.has_changed_rows, answer.operation, answer.root_fields) == (False, Operation.QUERY, 1)


@pytest.mark.parametrize(
    "field",
    [
        'create_flow_run(input: { flow_id: "01a22128-0000-7000-8000-000000000000" }) { id }',
        'delete_agent(input: { agent_id: "01a22128-0000-7000-8000-000000000000" }) { success }',
        'set_flow_run_name(input: { flow_run_id: "01a22128-0000-7000-8000-000000000000", name: "n" }) { success }',
    ],
)
def test_a_mutation_without_an_effect_changed_no_rows(cloud: Embedded, field: str) -> None:
    """It was refused, or there was nothing to change: the requests that wait are not woken."""
    assert not execute(cloud, f"mutation {{ {field} }}").has_changed_rows


def rename_and_fail(tx: Tx, project: str) -> None:
    """Rename a project twice, once in a nested savepoint, then fail."""
    with tx.savepoint():
        tx.update("project", project, {"name": "other"})
        with tx.savepoint():
            tx.update("project", project, {"name": "third"})
        raise RuntimeError


def test_what_is_rolled_back_does_not_count_as_a_change(cloud: Embedded) -> None:
    """SQLite counts rows of a savepoint that was taken back; the answer does not."""
    project = cloud.project()
    with cloud.database.write() as tx:
        with pytest.raises(RuntimeError):
            rename_and_fail(tx, project)
        assert tx.changed_rows == 0
        tx.update("project", project, {"name": "kept"})
        assert tx.changed_rows == 1


@pytest.mark.parametrize("document", ["{", "mutation { nothing }", "query { hello } query { hello }"])
def test_a_refused_document_executes_nothing(cloud: Embedded, document: str) -> None:
    """Its answer has no operation."""
    answer = execute(cloud, document)

    assert (answer.status, answer.operation, answer.has_changed_rows) == (400, Operation.NONE, False)
