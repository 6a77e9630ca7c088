"""The settings of an agent, validated when they are made. Seconds everywhere."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from prefect.agent.domain.errors import ConfigurationError
from prefect.agent.domain.model.run_configs import frozen_mapping


def as_labels(values: Iterable[str]) -> tuple[str, ...]:
    """Return the labels stripped, unique and sorted.

    Raises:
        ConfigurationError: *values* is a single string, or one of them is empty.
    """
    if isinstance(values, str):
        raise ConfigurationError(f"labels must be a list of strings, not the one string {values!r}")
    labels = sorted({value.strip() for value in values})
    if "" in labels:
        raise ConfigurationError("a label is empty: remove it")
    return tuple(labels)


@attrs.frozen(kw_only=True)
class AgentSettings:
    """The settings of one agent.

    A copy that ``attrs.evolve`` makes counts as named in full: it leaves nothing to environment and files.

    Attributes:
        named: Settings that were named when this object was made, also those that equal the default.
        name: For people, and the logger's name in run logs.
        labels: Sorted. A flow run is ours if its labels are a subset (the Cloud decides, protocol section 3.2).
        env: ``--env``: variables for every flow run.
        prefetch: How long before its due time a flow run is asked for.
        parallel: How many units are created at the same time; bounded, since each may hold a connection.
        limit: How many units may be alive at once; None for no limit.
        max_lateness: A flow run that is later than this is not started any more; None starts them however late.
        poll_first, poll_last: Shortest and longest pause between polls.
        create_deadline: How long errors of the platform that may pass are retried before the flow run fails.
        sweep_every: Pause between two reconciliations.
        cancel_grace: How long a flow run may take to end by itself after it was cancelled; then its unit is stopped.
        stop_grace: How long a stopped unit may take to end before it is killed.
        keep_ended: How long an ended unit is kept for people to look at; None for ever.
        max_polls: Stop after so many polls; None for never.
        start_patience: How long a start goes on trying to reach the Cloud and the platform; 0 tries once.
        auth_patience: How long a key that was accepted once may be refused before the agent ends.
        stall_patience: How long a loop that has overrun its time may go on standing still before the agent ends.
        stop_patience: How long a stopping agent waits for calls that do not return.
    """

    name: str = "agent"
    labels: tuple[str, ...] = attrs.field(default=(), converter=as_labels)
    env: Mapping[str, str] = attrs.field(factory=dict, converter=frozen_mapping)
    prefetch: float = attrs.field(default=10.0, validator=attrs.validators.ge(0))
    parallel: int = attrs.field(default=8, validator=attrs.validators.ge(1))
    limit: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    max_lateness: float | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.gt(0)),
    )
    poll_first: float = attrs.field(default=0.25, validator=attrs.validators.gt(0))
    poll_last: float = attrs.field(default=10.0, validator=attrs.validators.gt(0))
    create_deadline: float = attrs.field(default=120.0, validator=attrs.validators.ge(0))
    sweep_every: float = attrs.field(default=30.0, validator=attrs.validators.gt(0))
    cancel_grace: float = attrs.field(default=60.0, validator=attrs.validators.ge(0))
    stop_grace: float = attrs.field(default=10.0, validator=attrs.validators.ge(0))
    keep_ended: float | None = attrs.field(
        default=300.0,
        validator=attrs.validators.optional(attrs.validators.ge(0)),  # type: ignore[arg-type] # infers float, no None
    )
    max_polls: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    start_patience: float = attrs.field(default=300.0, validator=attrs.validators.ge(0))
    auth_patience: float = attrs.field(default=600.0, validator=attrs.validators.ge(0))
    stall_patience: float = attrs.field(default=900.0, validator=attrs.validators.ge(0))
    stop_patience: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    named: frozenset[str] = attrs.field(factory=frozenset, init=False, eq=False, repr=False)

    if not TYPE_CHECKING:  # type checkers see what attrs would make: every setting by its name

        def __init__(self, **given: Any) -> None:
            self.__attrs_init__(**given)
            object.__setattr__(self, "named", frozenset(given))
