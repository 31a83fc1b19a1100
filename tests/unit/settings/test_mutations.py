"""Whatever a person does to a config, the answer is settings or errors in words, never a traceback and never nothing."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from rollbackd.settings.load import Loaded, load
from rollbackd.settings.problems import InvalidConfigError

EXAMPLE = Path(__file__).parent / "example"
FILES = ["rollbackd.yaml", "runbooks/wemaster-quick.yaml", "runbooks/emergency-stop.yaml"]
PLAIN = {name: YAML(typ="safe", pure=True).load((EXAMPLE / name).read_text()) for name in FILES}
JUNK = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        "",
        "x",
        "${x}",
        "${vars.env}",
        "5m",
        "> 3x",
        "a=~'('",
        "-x",
        [],
        {},
        ["x"],
        {"x": 1},
        [None],
        "http://${target.version}/",
    ]
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("mutations")
    (directory / "runbooks").mkdir()
    for name in ("ingest.token", "oncall.token", "ci.token", "fly.token", "slack.url", "sentry.dsn"):
        (directory / name).write_text("value")
    return directory


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [deeper for key, child in items for deeper in [(*path, key), *_paths(child, (*path, key))]]


PATHS = [(name, path) for name, text in PLAIN.items() for path in _paths(text)]


def _mutate(files: dict[str, Any], name: str, path: tuple[Any, ...], junk: Any, how: str) -> None:
    parent = files[name]
    for key in path[:-1]:
        if not _has(parent, key):
            return
        parent = parent[key]
    key = path[-1]
    if not _has(parent, key):
        return
    if how == "replace":
        parent[key] = junk
    else:
        value = parent.pop(key)
        if how == "misspell" and isinstance(parent, dict):
            parent[f"{key}s"] = value


def _has(parent: Any, key: str | int) -> bool:
    return key in parent if isinstance(parent, dict) else isinstance(parent, list) and isinstance(key, int) and key < len(parent)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.sampled_from(PATHS), JUNK, st.sampled_from(["remove", "misspell", "replace"])), min_size=1, max_size=4))
def test_any_mutation_of_the_example(directory: Path, mutations: list[tuple[tuple[str, tuple[Any, ...]], Any, str]]) -> None:
    files = copy.deepcopy(PLAIN)
    for (name, path), junk, how in mutations:
        _mutate(files, name, path, junk, how)
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content, indent=1))
    loaded: Loaded | None = None
    problems: tuple[str, ...] = ()
    try:
        loaded = load(directory / "rollbackd.yaml")
    except InvalidConfigError as e:
        problems = tuple(str(problem) for problem in e.problems)
    assert (loaded is None) == bool(problems)
    assert loaded is None or loaded.settings.services
    assert all("\n" not in problem for problem in problems)
