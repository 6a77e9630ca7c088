"""Flow runs for people: creating one, reading how it goes on, and where a person looks at it."""

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final
from urllib.parse import urlsplit

import attrs

from prefect.agent.adapters.graphql import documents
from prefect.agent.adapters.graphql.answers import codes, describe, dig, is_rejection
from prefect.agent.adapters.graphql.records import items, mapping, moment, number, text
from prefect.agent.adapters.graphql.transport import Transport
from prefect.agent.adapters.phases import named_state
from prefect.agent.domain.errors import CloudError, OutcomeUnknown, RequestRejected
from prefect.agent.domain.model.flow_runs import FlowRunId
from prefect.agent.domain.model.orders import RunOrder, RunStory, StoryEntry
from prefect.agent.domain.times import iso

REFUSALS: Final = frozenset({"REFUSED", "NOT_FOUND", "FORBIDDEN"})
"""Codes with which a Cloud says that it has created nothing, besides those that name the request as wrong."""

PAGE: Final = 500
"""Lines of a log in one answer."""

PAGES: Final = 200
"""Pages that are read at most before they are shown."""

LATENESS: Final = timedelta(seconds=60)
"""Lines are sent in batches, each with the time of its event: so much later a line may arrive."""

UI_OF_CLOUD: Final = {"api.prefect.io": "https://cloud.prefect.io"}

_FIRST: Final = datetime.min.replace(tzinfo=timezone.utc)


@attrs.frozen
class _Mark:
    """How far a story was read.

    Attributes:
        version: Of the last state.
        since: Lines of the log before that time were all read.
        seen: Ids of the lines since then that were read.
    """

    version: int = -1
    since: datetime | None = None
    seen: frozenset[str] = frozenset()


def create(transport: Transport, order: RunOrder) -> FlowRunId:
    """Create the run; errors as ``CloudApi.create_flow_run`` has them."""
    given: dict[str, Any] = {
        "flow_id": order.flow_id,
        "parameters": dict(order.parameters) or None,
        "labels": None if order.labels is None else list(order.labels),
        "flow_run_name": order.name,
        "scheduled_start_time": order.due and iso(order.due),
        "idempotency_key": order.key or None,
    }
    wanted = {name: value for name, value in given.items() if value is not None}
    answer = transport.send(documents.CREATE_FLOW_RUN, {"input": wanted}, changes=True)
    if answer.errors:
        is_refused = is_rejection(answer.errors) or any(codes(error) & REFUSALS for error in answer.errors)
        kind = RequestRejected if is_refused else OutcomeUnknown
        raise kind(f"the Cloud does not create the run: {describe(answer.errors)}")
    run_id = dig(answer.data, "create_flow_run", "id")
    if not isinstance(run_id, str) or not run_id:
        raise OutcomeUnknown("the Cloud does not say which run it created")
    return FlowRunId(run_id)


def read_story(transport: Transport, run_id: FlowRunId, after: object) -> RunStory | None:
    """Read what is new; errors as ``CloudApi.run_story`` has them."""
    mark = after if isinstance(after, _Mark) else _Mark()
    news: list[StoryEntry] = []
    lines: dict[str, datetime | None] = {}
    row: Mapping[str, Any] = {}
    version = mark.version
    for page in range(PAGES):
        document = documents.story(run_id, version, mark.since, page * PAGE, PAGE)
        row = mapping(next(iter(items(transport.ask(document).get("flow_run"))), None))
        if not row:
            return None
        states, logs = list(map(mapping, items(row.get("states")))), list(map(mapping, items(row.get("logs"))))
        news += [_entry(state, text(state.get("state"))) for state in states]
        news += [
            _entry(line, text(line.get("name")), text(line.get("level")) or "INFO")
            for line in logs
            if text(line.get("id")) not in mark.seen | lines.keys()
        ]
        version = max([version, *(number(state.get("version")) or 0 for state in states)])
        lines |= {text(line.get("id")): moment(line.get("timestamp")) for line in logs}
        if len(logs) < PAGE:
            break
    state = named_state(text(row.get("state")), text(row.get("state_message")))
    ordered = sorted(news, key=lambda entry: entry.at or _FIRST)
    return RunStory(state=state, news=ordered, mark=_next_mark(mark, version, lines))


def address(transport: Transport, run_id: FlowRunId, backend: str, tenant_id: str | None) -> str:
    """The run's page of Prefect Cloud, or of a Server; empty if the Cloud does not say whose page it is."""
    parts = urlsplit(transport.shown)
    page = UI_OF_CLOUD.get(parts.hostname or "", "" if backend == "cloud" else f"{parts.scheme}://{parts.netloc}")
    try:
        rows = map(mapping, items(transport.ask(documents.TENANTS).get("tenant")))
    except CloudError:
        return ""
    slugs = [text(row.get("slug")) for row in rows if tenant_id in {None, row.get("id")}]
    return f"{page}/{slugs[0]}/flow-run/{run_id}" if page and slugs and slugs[0] else ""


def _entry(row: Mapping[str, Any], name: str, level: str = "") -> StoryEntry:
    return StoryEntry(at=moment(row.get("timestamp")), name=name, message=text(row.get("message")), level=level)


def _next_mark(mark: _Mark, version: int, lines: Mapping[str, datetime | None]) -> _Mark:
    """The mark after *lines* were read: those of the last minute are remembered, since others may come between."""
    latest = max((at for at in lines.values() if at is not None), default=None)
    if latest is None:
        return attrs.evolve(mark, version=version)
    since = max(latest - LATENESS, mark.since or _FIRST)
    return _Mark(version, since, frozenset(each for each, at in lines.items() if at is None or at >= since))
