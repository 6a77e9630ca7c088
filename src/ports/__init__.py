"""The ports of the agent, and every type that an adapter of yours has to name.

    from prefect.agent.ports import ExecutionPlatform, PlatformTraits, Submission, Unit, UnitStatus

A port is an abstract class. Its docstrings are the contract: what goes in and out, which errors may be raised and what
the agent does about each, which threads call, what may be repeated. The contract suites of ``prefect.agent.testing``
test each sentence that can be tested. How to: docs/how-to/write-a-platform.md, docs/how-to/write-a-cloud-adapter.md.
"""

from prefect.agent.domain.errors import (
    AgentError,
    CloudError,
    CloudMisconfigured,
    CloudUnavailable,
    ConfigurationError,
    CreateBlocked,
    ForeignAttempt,
    OutcomeUnknown,
    PlatformError,
    PlatformForbidden,
    PlatformUnavailable,
    RequestRejected,
    SubmissionRefused,
    Unauthorised,
    Unavailable,
    UnitNameTaken,
)
from prefect.agent.domain.labels import labels_match
from prefect.agent.domain.model.checks import (
    Answered,
    Blame,
    ClockReading,
    Feature,
    Folder,
    Image,
    Noted,
    Program,
    Severity,
    Step,
)
from prefect.agent.domain.model.demands import Demands
from prefect.agent.domain.model.ends import (
    HANDED_BACK_FOR,
    End,
    EndKind,
    EndOutcome,
    EndVerdict,
    judge_end,
    recoveries_after,
    waits_until,
)
from prefect.agent.domain.model.explaining import Hold, Reference, RunFacts, SeenAgent
from prefect.agent.domain.model.flow_runs import (
    Attempt,
    Claimed,
    ClaimOutcome,
    ClaimRecord,
    Deferred,
    Flow,
    FlowRun,
    FlowRunId,
    Lost,
    Refused,
    SimpleAttempt,
    TaskRun,
    TaskRunId,
)
from prefect.agent.domain.model.known_names import KnownNames
from prefect.agent.domain.model.orders import FlowDraft, FlowReference, RunOrder, RunStory, StoryEntry
from prefect.agent.domain.model.run_configs import (
    DockerRun,
    KubernetesRun,
    LocalRun,
    RunConfig,
    Storage,
    UniversalRun,
    UnusableRunConfig,
)
from prefect.agent.domain.model.states import Outcome, Phase, State
from prefect.agent.domain.model.submissions import PlatformTraits, Submission, Workload
from prefect.agent.domain.model.units import Evidence, Owner, Unit, UnitStatus, unit_name
from prefect.agent.domain.model.variable_names import is_reserved, plain_name
from prefect.agent.domain.wait_kinds import WaitKind
from prefect.agent.domain.waiting import WaitFacts
from prefect.agent.ports.clock import Clock, Wake
from prefect.agent.ports.cloud_api import AgentIdentity, Changes, ClaimRequest, CloudApi, LogLine, Tenant
from prefect.agent.ports.events import Event, EventSink
from prefect.agent.ports.platform import TEXT_LIMIT, ExecutionPlatform, output_tail
from prefect.agent.ports.platform_options import PlatformOption
from prefect.agent.ports.presence import Presence
from prefect.agent.ports.reports import Entry, MemoryReports, ReportStore

__all__ = [
    "HANDED_BACK_FOR",
    "TEXT_LIMIT",
    "AgentError",
    "AgentIdentity",
    "Answered",
    "Attempt",
    "Blame",
    "Changes",
    "ClaimOutcome",
    "ClaimRecord",
    "ClaimRequest",
    "Claimed",
    "Clock",
    "ClockReading",
    "CloudApi",
    "CloudError",
    "CloudMisconfigured",
    "CloudUnavailable",
    "ConfigurationError",
    "CreateBlocked",
    "Deferred",
    "Demands",
    "DockerRun",
    "End",
    "EndKind",
    "EndOutcome",
    "EndVerdict",
    "Entry",
    "Event",
    "EventSink",
    "Evidence",
    "ExecutionPlatform",
    "Feature",
    "Flow",
    "FlowDraft",
    "FlowReference",
    "FlowRun",
    "FlowRunId",
    "Folder",
    "ForeignAttempt",
    "Hold",
    "Image",
    "KnownNames",
    "KubernetesRun",
    "LocalRun",
    "LogLine",
    "Lost",
    "MemoryReports",
    "Noted",
    "Outcome",
    "OutcomeUnknown",
    "Owner",
    "Phase",
    "PlatformError",
    "PlatformForbidden",
    "PlatformOption",
    "PlatformTraits",
    "PlatformUnavailable",
    "Presence",
    "Program",
    "Reference",
    "Refused",
    "ReportStore",
    "RequestRejected",
    "RunConfig",
    "RunFacts",
    "RunOrder",
    "RunStory",
    "SeenAgent",
    "Severity",
    "SimpleAttempt",
    "State",
    "Step",
    "Storage",
    "StoryEntry",
    "Submission",
    "SubmissionRefused",
    "TaskRun",
    "TaskRunId",
    "Tenant",
    "Unauthorised",
    "Unavailable",
    "Unit",
    "UnitNameTaken",
    "UnitStatus",
    "UniversalRun",
    "UnusableRunConfig",
    "WaitFacts",
    "WaitKind",
    "Wake",
    "Workload",
    "is_reserved",
    "judge_end",
    "labels_match",
    "output_tail",
    "plain_name",
    "recoveries_after",
    "unit_name",
    "waits_until",
]
