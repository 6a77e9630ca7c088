"""Support for code that was written for 1.x: rows with attribute access, and the check for the real Prefect."""

from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.flow_runs import FlowRun


@attrs.frozen
class Row(Mapping[str, Any]):
    """A row is a mapping whose keys are attributes too, at every depth (protocol section 2.4)."""

    _data: Mapping[str, Any]

    def __getitem__(self, key: str) -> Any:
        value = self._data[key]
        if isinstance(value, Mapping):
            return Row(value)
        return [Row(v) if isinstance(v, Mapping) else v for v in value] if isinstance(value, list) else value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the flow run has no {name!r}; it has {', '.join(self._data)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


@attrs.frozen
class FlowRunRow(Row):
    """A flow run as the backend sent it, for subclasses that override ``deploy_flow``.

    Attributes:
        flow_run: The flow run as the domain's value.
    """

    flow_run: FlowRun

    @classmethod
    def of(cls, run: FlowRun) -> "FlowRunRow":
        """Return the row of *run*; it is composed from the known values if the adapter keeps no rows."""
        flow = {"id": run.flow.id, "name": run.flow.name, "core_version": run.flow.core_version}
        known = {"id": run.id, "name": run.name, "state": run.state.name, "flow": flow}
        return cls({**known, **run.source}, run)


def refuse_real_prefect() -> None:
    """Refuse to start beside the real Prefect of the 0.x or 1.x line: the two overwrite each other's files.

    Raises:
        ConfigurationError: The real Prefect is installed here; the message says what to do.
    """
    spec = find_spec("prefect")
    if spec is None or spec.origin is None:
        return
    try:
        version = metadata.version("prefect")
    except metadata.PackageNotFoundError:
        return
    if version.partition(".")[0] in {"0", "1"}:
        raise ConfigurationError(
            f"Prefect {version} is installed in this Python environment, and prefect-agent replaces some of its files. "
            "Install prefect-agent into an environment of its own; the flow runs keep using theirs: for processes say "
            "which with --interpreter"
        )
