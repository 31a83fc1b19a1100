from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

from rollbackd.cli.plain import plain
from rollbackd.model.policy import SecretRef
from tests.unit.web.samples import POLICY


def test_it_writes_values_as_the_config_does() -> None:
    shown = cast("dict[str, object]", plain(replace(POLICY, credentials={"TOKEN": SecretRef(file="/secrets/token")})))
    assert shown["mode"] == "auto"
    assert shown["cooldown"] == "1h"
    assert shown["selector"] == [str(POLICY.selector[0])]
    assert shown["credentials"] == {"TOKEN": {"file": "/secrets/token"}}
    assert shown["on_failure"] is None
    assert plain(Path("a/b")) == "a/b"
    assert plain(POLICY.triggers[0].breach) == "> 0.01"


def test_without_effective_what_has_its_default_is_left_out() -> None:
    changed = replace(POLICY, cooldown=timedelta(minutes=5), vars={})
    shown = cast("dict[str, object]", plain(changed, effective=False))
    assert shown["cooldown"] == "5m"
    assert shown["mode"] == "auto"
    assert not shown.keys() & {"vars", "on_failure", "budget", "blame"}


def test_a_nested_record_without_changes_is_left_out_as_well() -> None:
    assert "watch" not in cast("dict[str, object]", plain(POLICY, effective=False))
    assert cast("dict[str, object]", plain(POLICY))["watch"] == {"duration": "10m", "interval": "15s", "stable_for": "3m"}
