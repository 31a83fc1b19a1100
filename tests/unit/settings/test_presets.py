"""Indicators by the name of what exports them."""

from pathlib import Path
from typing import get_args

import pytest

from rollbackd.settings.presets import Measured, Preset
from tests.unit.settings.builders import errors_of, settings_of

CASES = [(preset, measured) for preset in get_args(Preset) for measured in get_args(Measured)]


def config(indicator: str) -> str:
    trigger = "triggers: {T: {indicator: i, breach: '> 0.01', clear: '<= 0.005', for: 2m}}\n"
    return f"prometheus: {{url: http://127.0.0.1:9090}}\nindicators: {{i: {indicator}}}\n{trigger}services: {{a: {{}}}}\n"


@pytest.mark.parametrize(("preset", "measured"), CASES)
def test_each_is_whole(tmp_path: Path, preset: str, measured: str) -> None:
    settings = settings_of(tmp_path, config(f"{{preset: {preset}, of: {measured}}}"))
    indicator = settings.services["a"].trigger("T").indicator
    assert indicator.is_ratio is (measured == "errors")
    assert (indicator.count is not None) is (measured == "latency")
    assert indicator.window.total_seconds() == 60
    assert "$selector" in indicator.samples


def test_what_is_written_beside_it_holds(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, config("{preset: istio, of: latency, quantile: 0.99, window: 5m, samples: 'mine{$selector}'}"))
    indicator = settings.services["a"].trigger("T").indicator
    bucket = 'istio_request_duration_milliseconds_bucket{$selector,reporter="destination"}'
    assert indicator.query == f"histogram_quantile(0.99, sum by (le) (rate({bucket}[$window])))"
    assert (indicator.window.total_seconds(), indicator.samples) == (300, "mine{$selector}")


@pytest.mark.parametrize(
    ("indicator", "words"),
    [
        ("{preset: isto, of: errors}", "'isto'"),
        ("{preset: istio}", "'preset' and 'of'"),
        ("{of: errors, query: q, samples: s, window: 1m}", "'preset' and 'of'"),
        ("{preset: istio, of: traffic}", "'traffic'"),
        ("{preset: istio, of: latency, quantile: 95}", "less than 1"),
        ("{preset: istio, of: errors, query: q}", "write either 'bad' and 'total'"),
    ],
)
def test_what_cannot_be_is_named_where_it_is_written(tmp_path: Path, indicator: str, words: str) -> None:
    errors = errors_of(tmp_path, config(indicator))
    assert len(errors) == 1, errors
    assert errors[0].startswith("2:")
    assert words in errors[0]
