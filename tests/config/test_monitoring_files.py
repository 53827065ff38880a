"""Queries of the alert rules and the dashboard can be parsed, and only use metrics and labels that exist."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path

import promql_parser
import pytest
import yaml
from django.utils import timezone

from apikeys.jobs import runner
from apikeys.models import Job
from config.base.metrics import registry
from config.metrics import DatabaseCollector

DEPLOY = Path(__file__).resolve().parents[2] / "docs" / "deploy"
RULES = [
    rule for group in yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())["groups"] for rule in group["rules"]
]
DASHBOARD = json.loads((DEPLOY / "grafana.json").read_text())
PANELS = DASHBOARD["panels"]
QUERIES = {rule["alert"]: rule["expr"] for rule in RULES} | {
    f"{panel['title']}, {target['legendFormat']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
    "gauge": ("",),
}
# Labels added by Prometheus.
BY_PROMETHEUS = {"job", "instance", "le", "__name__"}


@pytest.fixture
def known(db):
    """The labels of each metric, by the name used in queries."""
    own = {f"{metric._name}{end}": set(metric._labelnames) for metric in metrics() for end in SUFFIXES[metric._type]}
    runner.create_missing()
    Job.objects.update(began_at=timezone.now(), duration=timedelta(seconds=1), is_ok=True)
    from_database = {
        family.name: {label for sample in family.samples for label in sample.labels}
        for family in DatabaseCollector().collect()
    }
    return own | from_database


def metrics():
    return registry._collector_to_names


def parsed(query):
    # Replace Grafana's variables.
    return promql_parser.parse(query.replace("$__rate_interval", "5m").replace("$instance", ".*"))


def selectors(node):
    """Every metric selector in a parsed query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for part in ("lhs", "rhs", "expr", "vector_selector", "param", "args"):
        inner = getattr(node, part, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None:
                yield from selectors(each)


def grouped_by(query):
    return {label.strip() for labels in re.findall(r"\bby \(([^)]*)\)", query) for label in labels.split(",")}


@pytest.mark.parametrize("name", QUERIES)
def test_queries_use_metrics_and_labels_that_exist(known, name):
    found = list(selectors(parsed(QUERIES[name])))
    assert found
    ours = [selector for selector in found if selector.name != "up"]
    for selector in ours:
        assert selector.name in known
        assert {matcher.name for matcher in selector.matchers.matchers} <= known[selector.name] | BY_PROMETHEUS
    assert grouped_by(QUERIES[name]) <= BY_PROMETHEUS.union(*(known[selector.name] for selector in ours))


def test_every_metric_is_on_the_dashboard(known):
    shown = {selector.name for query in QUERIES.values() for selector in selectors(parsed(query))}
    names = {metric._name for metric in metrics()} | {
        name for name in known if name.startswith(("gatehouse_k", "gatehouse_database_o"))
    }
    assert [name for name in sorted(names) if not any(each.startswith(name) for each in shown)] == []


def test_every_metric_is_documented_and_only_those(known):
    documented = set(re.findall(r"^\| `(gatehouse_\w+)`", (DEPLOY.parent / "metrics.md").read_text(), re.MULTILINE))
    ends = re.compile(r"_(bucket|sum|count)$")
    assert {ends.sub("", name) for name in known} == documented


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_alerts_have_a_severity_and_use_labels_that_exist(known, rule):
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    used = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    assert used <= (grouped_by(rule["expr"]) or BY_PROMETHEUS)
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}


def test_panels_do_not_overlap_and_have_unique_ids():
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
