"""Configs on disk, with everything around them that a test does not care about."""

from collections.abc import Mapping
from pathlib import Path

from rollbackd.settings.effective import Settings
from rollbackd.settings.load import load
from rollbackd.settings.problems import InvalidConfigError

BASE = """\
prometheus: {url: http://127.0.0.1:9090}
indicators:
  errors: {bad: 'e{$selector}', total: 't{$selector}', samples: 't{$selector}', bad_samples: 'e{$selector}', window: 1m}
  latency: {query: 'q{$selector}', count: 'c{$selector}', samples: 'c{$selector}', window: 1m}
triggers:
  HighErrorRate: {indicator: errors, breach: '> 0.01', clear: '<= 0.005', for: 2m, min_requests: 50}
  SlowResponse: {indicator: latency, breach: '> 1000', clear: '< 500', for: 5m, min_requests: 50}
objectives:
  errors: {indicator: errors, target: '< 0.005'}
"""
"""Nine lines: what a test adds begins in line 10."""

QUICK = """\
name: quick
kind: quick
budget: 10m
steps:
  - {name: deploy, run: [deploy, '${service.name}', '${target.artifact}'], timeout: 5m}
"""


def write(directory: Path, text: str, *, runbooks: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None) -> Path:
    directory.mkdir(exist_ok=True)
    config = directory / "rollbackd.yaml"
    config.write_text(text)
    for name, content in {**{f"runbooks/{name}.yaml": text for name, text in (runbooks or {}).items()}, **(files or {})}.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(content)
        (directory / name).chmod(0o600)
    return config


def settings_of(
    directory: Path, text: str, *, runbooks: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
) -> Settings:
    return load(write(directory, text, runbooks=runbooks, files=files)).settings


def warnings_of(
    directory: Path, text: str, *, runbooks: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
) -> list[str]:
    """`line:col: message` of each, those of runbooks with the file's name before it."""
    loaded = load(write(directory, text, runbooks=runbooks, files=files))
    return [_brief(str(problem), directory) for problem in loaded.problems]


def errors_of(
    directory: Path, text: str, *, runbooks: Mapping[str, str] | None = None, files: Mapping[str, str] | None = None
) -> list[str]:
    """As `warnings_of`; empty when the config is valid."""
    try:
        load(write(directory, text, runbooks=runbooks, files=files))
    except InvalidConfigError as e:
        return [_brief(str(problem), directory) for problem in e.problems]
    return []


def _brief(problem: str, directory: Path) -> str:
    return problem.replace(f"{directory}/", "").removeprefix("rollbackd.yaml:")
