"""The page of the metrics, the Grafana dashboard and the alert rules name the metrics that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from prefect.agent.domain.model.settings import AgentSettings
from prefect.agent.entrypoints.container import build
from prefect.agent.entrypoints.factories import Options
from prefect.agent.entrypoints.runtime.metrics import exposition
from prefect.agent.ports import events
from prefect.agent.ports.events import Event

ROOT = Path(__file__).parents[2]
DASHBOARD, ALERTS = ROOT / "contrib" / "grafana-dashboard.json", ROOT / "contrib" / "prometheus-alerts.yaml"
SUFFIXES = {"histogram": ("_bucket", "_count", "_sum"), "counter": ("",), "info": ("",), "gauge": ("",)}


def metrics() -> dict[str, str]:
    """Name and kind of every metric, as an agent that has a limit shows them; counters with ``_total``."""
    parts = build(Options(settings=AgentSettings(limit=3)))
    found = {}
    for family in text_string_to_metric_families(exposition(parts.meter, parts.board).decode()):
        kind = "info" if family.name.endswith("_info") else family.type
        found[f"{family.name}_total" if kind == "counter" else family.name] = kind
    return found


def series() -> set[str]:
    """Names of all time series that a query may use."""
    return {f"{name}{suffix}" for name, kind in metrics().items() for suffix in SUFFIXES[kind]}


def queries() -> Iterator[str]:
    """Every expression of the dashboard and the alert rules."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for rule in rules():
        yield rule["expr"]


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    return [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]


def test_the_page_names_exactly_the_metrics_there_are() -> None:
    """With their kinds."""
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(prefect_agent\w*)` \| (\w+) \|", page, re.MULTILINE))

    assert rows == metrics()


@pytest.mark.parametrize("query", sorted(set(queries())))
def test_every_query_asks_for_metrics_there_are(query: str) -> None:
    """Of the dashboard and of the alert rules; brackets are closed."""
    asked = set(re.findall(r"prefect_agent\w*", query))

    assert asked
    assert asked <= series()
    assert all(query.count(opening) == query.count(closing) for opening, closing in ("()", "{}", "[]"))


def test_every_metric_is_on_the_dashboard() -> None:
    """What is counted can be seen."""
    shown = set(re.findall(r"prefect_agent\w*", DASHBOARD.read_text(encoding="utf-8")))

    assert [name for name, kind in metrics().items() if not {f"{name}{s}" for s in SUFFIXES[kind]} & shown] == []


def test_alerts_name_events_there_are() -> None:
    """In the label ``event``, and in the sentences."""
    names = {value for name, value in vars(events).items() if name.isupper()}
    labels = re.findall(r'event=~?"([^"]+)"', ALERTS.read_text(encoding="utf-8"))
    said = re.findall(r"the event (\w+_\w+)", ALERTS.read_text(encoding="utf-8"))

    assert {name for label in labels for name in label.split("|")} | set(said) <= names
    assert len(labels) + len(said) >= 3


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_each_alert_is_whole(rule: dict[str, Any]) -> None:
    """A name, a query, a severity, and what to do."""
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(rule["annotations"]) == {"summary", "description"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on PATH: it comes with Prometheus")
def test_prometheus_takes_the_alert_rules() -> None:
    """By its own tool."""
    found = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, check=False)

    assert found.returncode == 0, found.stdout + found.stderr


def test_panels_are_laid_out_and_do_not_overlap() -> None:
    """Each has its own place in the grid of 24 columns and its own number."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    cells: list[tuple[int, int]] = []
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells += [(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])]

    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_pulls_are_counted_by_their_outcome() -> None:
    """From the event that ends each of them."""
    parts = build(Options(settings=AgentSettings()))
    for outcome, seconds in (("ok", 3.0), ("ok", 40.0), ("failed", 0.2)):
        fields = {"outcome": outcome, "duration_s": seconds}
        parts.meter.take(Event(name=events.PULL_ENDED, message="m", fields=fields))
    text = exposition(parts.meter, parts.board).decode()

    name = "prefect_agent_image_pull_duration_seconds"
    assert f'{name}_count{{outcome="ok"}} 2.0' in text
    assert f'{name}_sum{{outcome="ok"}} 43.0' in text
    assert f'{name}_bucket{{le="0.25",outcome="failed"}} 1.0' in text
