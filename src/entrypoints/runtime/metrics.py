"""An agent's numbers in the text format of Prometheus, by its official client library."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from prefect.agent.entrypoints.runtime.meter import Histogram, Meter
from prefect.agent.entrypoints.runtime.status import StatusBoard

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition(meter: Meter, board: StatusBoard) -> bytes:
    """All metrics of one agent as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_AgentCollector(meter, board))
    return generate_latest(registry)


@attrs.frozen(eq=False)
class _AgentCollector(Collector):
    """Makes the metrics anew for each scrape, from what was counted."""

    meter: Meter
    board: StatusBoard

    def collect(self) -> Iterator[Metric]:
        """Every metric, see docs/reference/metrics.md."""
        facts = self.board.facts()
        yield from _about(facts)
        yield from _steps(facts)
        yield from _now(facts)
        with self.meter.guard:
            yield from list(_counted(self.meter))


def _about(facts: dict[str, Any]) -> Iterator[Metric]:
    agent = facts["agent"]
    info = InfoMetricFamily("prefect_agent", "The agent: its name, version, platform and Python.")
    names = ("name", "agent_version", "platform", "identity", "python", "tenant")
    info.add_metric([], {name: str(agent[name]) for name in names if agent.get(name)})
    yield info
    yield GaugeMetricFamily("prefect_agent_up", "1 if the agent is healthy, else 0.", value=float(facts["healthy"]))
    yield GaugeMetricFamily("prefect_agent_uptime_seconds", "Seconds since the agent started.", value=agent["uptime_s"])


def _steps(facts: dict[str, Any]) -> Iterator[Metric]:
    age = GaugeMetricFamily(
        "prefect_agent_step_age_seconds", "Seconds since a step of the work last went well.", labels=["step"]
    )
    failing = GaugeMetricFamily("prefect_agent_step_failing", "1 while the last try of a step failed.", labels=["step"])
    for name, step in facts["steps"].items():
        if step["seconds_since"] is not None:
            age.add_metric([name], step["seconds_since"])
        failing.add_metric([name], float(step["problem"] is not None))
    yield age
    yield failing


def _now(facts: dict[str, Any]) -> Iterator[Metric]:
    units = GaugeMetricFamily(
        "prefect_agent_units", "Living units, counted at the last sweep or made since.", labels=["status"]
    )
    for status in ("created", "pending", "running"):
        units.add_metric([status], float(sum(unit["status"] == status for unit in facts["units"])))
    yield units
    slots = facts["slots"]
    yield GaugeMetricFamily("prefect_agent_units_alive", "Living units, all of them.", value=slots["alive"])
    if slots["limit"] is not None:
        yield GaugeMetricFamily("prefect_agent_units_limit", "Most units that may be alive.", value=slots["limit"])
    yield GaugeMetricFamily(
        "prefect_agent_runs_starting", "Flow runs being claimed or started.", value=slots["starting"]
    )
    yield GaugeMetricFamily("prefect_agent_runs_waiting", "Flow runs read, and not due yet.", value=slots["waiting"])
    waiting = facts["reports_waiting"]
    yield GaugeMetricFamily("prefect_agent_outbox_runs", "Flow runs with reports not yet confirmed.", value=waiting)


def _counted(meter: Meter) -> Iterator[Metric]:
    runs = CounterMetricFamily("prefect_agent_runs", "Flow runs by what came of them.", labels=["outcome"])
    for outcome, count in meter.runs.items():
        runs.add_metric([outcome], count)
    ends = CounterMetricFamily("prefect_agent_run_ends", "Flow runs that ended, by state.", labels=["state"])
    for state, count in meter.ends.items():
        ends.add_metric([state], count)
    problems = CounterMetricFamily("prefect_agent_problems", "Warnings and errors, by event.", labels=["event"])
    for event, count in meter.problems.items():
        problems.add_metric([event], count)
    requests = CounterMetricFamily(
        "prefect_agent_requests", "Requests to the Cloud, by operation and outcome.", labels=["operation", "outcome"]
    )
    for (operation, outcome), count in meter.requests.items():
        requests.add_metric([operation, outcome], count)
    yield from (runs, ends, problems, requests)
    yield _histogram("prefect_agent_run_lateness_seconds", "From a run's due time to its start.", meter.lateness)
    yield _histogram(
        "prefect_agent_create_duration_seconds", "What a create took, image pulls included.", meter.creates
    )
    pulls = ("prefect_agent_image_pull_duration_seconds", "What pulls of images took, by outcome.", "outcome")
    yield _histograms(*pulls, meter.pulls)
    requests_took = ("prefect_agent_request_duration_seconds", "What requests to the Cloud took.", "operation")
    yield _histograms(*requests_took, meter.asked)


def _histograms(name: str, what: str, label: str, histograms: Mapping[str, Histogram]) -> Metric:
    found = HistogramMetricFamily(name, what, labels=[label])
    for value, histogram in histograms.items():
        found.add_metric([value], histogram.cumulated(), histogram.total)
    return found


def _histogram(name: str, what: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(name, what, buckets=histogram.cumulated(), sum_value=histogram.total)
