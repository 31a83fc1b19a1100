"""The shipped dashboard: every metric in it exists, every query is PromQL, and it names no data source of somebody's own."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rollbackd.telemetry.metrics import Metrics
from tests.e2e.test_rules import promtool

DASHBOARD = json.loads((Path(__file__).resolve().parents[2] / "config" / "grafana" / "rollbackd.json").read_text())


def queries() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from (one["expr"] for one in DASHBOARD["annotations"]["list"])


def walk(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from walk(each)
    elif isinstance(value, list):
        for each in value:
            yield from walk(each)


def test_every_metric_in_it_exists() -> None:
    exposed = set(re.findall(r"^# TYPE (\w+) ", Metrics().exposition()[0].decode(), re.MULTILINE))
    variables = [one["query"] for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    asked = {name for query in (*queries(), *variables) for name in re.findall(r"\b(?:rollbackd|process)_\w+", query)}
    assert len(asked) > 15
    assert {re.sub(r"_bucket$", "", name) for name in asked} <= exposed


def test_every_query_is_promql(tmp_path: Path) -> None:
    written = [re.sub(r"\$__rate_interval", "5m", query).replace("$service", "shop").replace("$job", "x") for query in queries()]
    assert not [query for query in written if "$" in query]
    rules = [{"record": f"panel:query:{number}", "expr": query} for number, query in enumerate(written)]
    YAML(typ="safe").dump({"groups": [{"name": "dashboard", "rules": rules}]}, tmp_path / "rules.yml")
    assert f"{len(rules)} rules found" in promtool("check", "rules", tmp_path / "rules.yml")


def test_the_data_source_is_a_variable_everywhere() -> None:
    sources = [one["datasource"] for one in walk(DASHBOARD) if "datasource" in one]
    assert sources
    assert {source["uid"] for source in sources} == {"${datasource}"}
    assert [one["name"] for one in DASHBOARD["templating"]["list"]] == ["datasource", "job", "service"]


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
