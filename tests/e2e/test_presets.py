"""Every preset is PromQL, judged by Prometheus' own promtool."""

from pathlib import Path
from typing import get_args

from ruamel.yaml import YAML

from rollbackd.settings.presets import Measured, Preset, queries
from tests.e2e.test_rules import promtool


def test_every_preset_is_promql(tmp_path: Path) -> None:
    found = [queries(preset, measured, 0.95) for preset in get_args(Preset) for measured in get_args(Measured)]
    written = [query for fields in found for query in (fields or {}).values()]
    assert len(written) == len(get_args(Preset)) * (4 + 3)
    bound = [query.replace("$selector", 'service="shop"').replace("$window", "1m") for query in written]
    rules = [{"record": f"preset:query:{number}", "expr": query} for number, query in enumerate(bound)]
    YAML(typ="safe").dump({"groups": [{"name": "presets", "rules": rules}]}, tmp_path / "rules.yml")
    assert f"{len(rules)} rules found" in promtool("check", "rules", tmp_path / "rules.yml")
