"""What is left of 1.x for people's own code."""

import copy
import importlib.machinery

import pytest

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.entrypoints.library import compatibility
from prefect.agent.entrypoints.library.compatibility import FlowRunRow, Row, refuse_real_prefect
from support.builders import a_run, an_id

DATA = {"id": "x", "flow": {"storage": {"type": "Local"}}, "task_runs": [{"id": "t"}, 3], "none": None}


def test_keys_are_attributes_all_the_way_down() -> None:
    """``flow_run.flow.storage`` works as in 1.x, and so do keys and ``get`` (protocol section 2.4)."""
    row = Row(DATA)

    assert row.flow.storage.type == row["flow"]["storage"]["type"] == "Local"
    assert row.task_runs[0].id == "t"
    assert row.task_runs[1] == 3
    assert row.none is None
    assert row.get("gone", 7) == 7
    assert dict(row) == {**DATA, "flow": Row(DATA["flow"]), "task_runs": [Row({"id": "t"}), 3]}  # type: ignore[arg-type]
    assert (len(row), "flow" in row, "gone" in row) == (4, True, False)


def test_an_attribute_that_is_not_there_says_what_is() -> None:
    """A typing error in ``deploy_flow`` is found from its message."""
    with pytest.raises(AttributeError, match="no 'flwo'; it has id, flow, task_runs, none"):
        _ = Row(DATA).flwo
    assert not hasattr(Row(DATA), "gone")
    with pytest.raises(KeyError):
        Row(DATA)["gone"]


def test_a_row_can_be_copied() -> None:
    """Python asks for special methods first: those are no keys."""
    assert copy.deepcopy(Row(DATA)) == copy.copy(Row(DATA)) == Row(DATA)


def test_the_row_of_a_run_has_what_the_backend_sent() -> None:
    """The backend's own words win over what can be put together."""
    run = a_run(2, source={"id": an_id(2), "name": "theirs", "version": 4})
    row = FlowRunRow.of(run)

    assert (row.name, row.version, row.flow.name, row.state) == ("theirs", 4, "flow", "Scheduled")
    assert row.flow_run is run


def test_the_row_of_a_run_without_a_source() -> None:
    """An adapter that keeps no rows still serves subclasses."""
    row = FlowRunRow.of(a_run(2))

    assert (row.id, row.name, row.flow.core_version) == (an_id(2), "run-2", None)


@pytest.mark.parametrize(
    ("origin", "version", "refused"),
    [
        (None, "1.4.1", False),
        ("/x/prefect/__init__.py", "1.4.1", True),
        ("/x/prefect/__init__.py", "0.15.13", True),
        ("/x/prefect/__init__.py", "3.1.0", False),
        ("/x/prefect/__init__.py", None, False),
    ],
)
def test_the_real_prefect_of_the_same_line_is_refused(
    monkeypatch: pytest.MonkeyPatch, origin: str | None, version: str | None, refused: bool
) -> None:
    """Two distributions would overwrite each other's files: better said at start than found out later."""

    def metadata_version(name: str) -> str:
        if version is None:
            raise compatibility.metadata.PackageNotFoundError(name)  # type: ignore[attr-defined]
        return version

    spec = importlib.machinery.ModuleSpec("prefect", None, origin=origin)
    monkeypatch.setattr(compatibility, "find_spec", lambda _name: spec)
    monkeypatch.setattr("importlib.metadata.version", metadata_version)

    if not refused:
        refuse_real_prefect()
        return
    with pytest.raises(ConfigurationError, match="environment of its own"):
        refuse_real_prefect()
