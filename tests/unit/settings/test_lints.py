from pathlib import Path

import pytest

from tests.unit.settings.builders import BASE, QUICK, warnings_of


def found(directory: Path, text: str, base: str = BASE) -> list[str]:
    return warnings_of(directory, base + text, runbooks={"quick": QUICK})


def test_a_sound_config_has_no_warning(tmp_path: Path) -> None:
    assert found(tmp_path, "services: {a: {mode: auto, runbook: quick, running_version: {run: [x]}}}") == []


def test_a_window_under_four_scrapes(tmp_path: Path) -> None:
    base = BASE.replace("9090}", "9090, scrape_interval: 16s}")
    both = found(tmp_path, "services: {a: {}, b: {}}", base)
    assert both == [
        "3:118: window 1m is under 4 scrapes of 16s: write 64s or more",
        "4:92: window 1m is under 4 scrapes of 16s: write 64s or more",
    ]


@pytest.mark.parametrize(
    ("match", "selector", "warned"),
    [
        ("['service=\"a\"', 'env=~\"staging|prod\"']", "service=a", True),
        ("['service=\"a\"', 'env=~\"staging|prod\"']", "'service=a,env=~\"staging|prod\"'", True),
        ("['service=\"a\"', 'env=~\"staging|prod\"']", "'service=a,env=staging'", False),
        ("['service=\"a\"', 'env!=\"dev\"']", "service=a", True),
        ("['service=\"a\"', 'env!~\"dev\"']", "service=a", True),
        ("['service=\"a\"', 'env=~\"staging\"']", "service=a", False),
        ("['service=\"a\"', 'env=staging']", "service=a", False),
    ],
)
def test_a_label_with_several_values_that_selector_does_not_pin(tmp_path: Path, match: str, selector: str, *, warned: bool) -> None:
    warnings = found(tmp_path, f"services: {{a: {{match: {match}, selector: {selector}}}}}")
    assert bool(warnings) is warned
    assert all(warning.startswith("10:16: a: env") and warning.endswith("add env=… to selector") for warning in warnings)


@pytest.mark.parametrize(
    ("query", "warned"),
    [
        ("sum(up{$selector}) > bool 0", "bool"),
        ("sum(up{$selector}) or vector(0)", "or vector(0)"),
        ("sum(up{$selector}) or on() vector( 0 )", "or vector(0)"),
        ("up{$selector} != 1", "!="),
        ('up{$selector,code!="500"}', None),
        ('up{$selector,code="a != b or vector(0)"}', None),
        ("boolean{$selector}", None),
        ("sum(up{$selector}) or vector(1)", None),
    ],
)
def test_an_expression_that_hides_missing_data(tmp_path: Path, query: str, warned: str | None) -> None:
    base = BASE.replace("'q{$selector}'", "'" + query + "'")
    warnings = found(tmp_path, "services: {a: {}}", base)
    assert len(warnings) == (warned is not None)
    assert all(warning.startswith(f"4:20: {warned} in an indicator: ") for warning in warnings)


def test_blame_off(tmp_path: Path) -> None:
    (warning,) = found(tmp_path, "services: {a: {use: t}, b: {use: t}}\ntemplates: {t: {blame: off}}")
    assert warning == "11:24: blame: off rolls back on any confirmed trigger, whatever caused it"


def test_a_ratio_without_bad_samples(tmp_path: Path) -> None:
    (warning,) = found(tmp_path, "services: {a: {}, b: {}}", BASE.replace("bad_samples: 'e{$selector}', ", ""))
    assert warning.startswith("3:3: ratio 'errors' has no bad_samples")


def test_auto_without_running_version(tmp_path: Path) -> None:
    (warning,) = found(tmp_path, "services: {a: {mode: auto, runbook: quick}, b: {mode: propose, runbook: quick}}")
    assert warning.startswith("10:22: mode: auto without running_version")


def test_no_least_traffic(tmp_path: Path) -> None:
    (warning,) = found(tmp_path, "services: {a: {}, b: {}}", BASE.replace("for: 5m, min_requests: 50", "for: 5m"))
    assert warning.startswith("7:3: trigger 'SlowResponse' has no min_requests")


@pytest.mark.parametrize(
    ("services", "warned"),
    [
        ("{a: {depends_on: [b, c]}, b: {depends_on: [c]}, c: {}}", []),
        ("{a: {depends_on: [b]}, b: {depends_on: [a]}}", ["10:29: a → b → a"]),
        ("{c: {depends_on: [b]}, b: {depends_on: [x, a]}, a: {depends_on: [c]}, x: {}}", ["10:29: c → b → a → c"]),
        (
            "{a: {depends_on: [b]}, b: {depends_on: [a, c]}, c: {depends_on: [d]}, d: {depends_on: [c]}, e: {depends_on: [a, d]}}",
            ["10:29: a → b → a", "10:76: c → d → c"],
        ),
        ("{a: {depends_on: [b, c]}, b: {depends_on: [a]}, c: {depends_on: [a]}}", ["10:29: a → b → a", "10:32: a → c → a"]),
    ],
)
def test_depends_on_in_a_circle(tmp_path: Path, services: str, warned: list[str]) -> None:
    """Each one once, where it may be cut."""
    warnings = found(tmp_path, f"services: {services}")
    assert [warning.replace("depends_on goes in a circle, ", "").split(": when")[0] for warning in warnings] == warned


def test_relative_to_almost_nothing(tmp_path: Path) -> None:
    relative = BASE.replace("breach: '> 1000', clear: '< 500'", "breach: '> 3x', clear: '< 1.5x'")
    (warning,) = found(tmp_path, "services: {a: {}, b: {}}", relative)
    assert warning.startswith("7:3: trigger 'SlowResponse' is relative without at_least: 3 times almost nothing is almost nothing")
    assert found(tmp_path, "services: {a: {}}", relative.replace("'> 3x'", "'> 3x', at_least: 100")) == []
    assert found(tmp_path, "services: {a: {}}", relative.replace("'> 3x', clear: '< 1.5x'", "'< 0.3x', clear: '> 0.5x'")) == []


def test_least_traffic_is_not_asked_of_what_does_not_count(tmp_path: Path) -> None:
    base = BASE.replace("count: 'c{$selector}', ", "").replace("for: 5m, min_requests: 50", "for: 5m")
    assert found(tmp_path, "services: {a: {}}", base) == []
