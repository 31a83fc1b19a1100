import json
from datetime import timedelta

import pytest

from rollbackd.cli import look, output
from rollbackd.flow.reload import Refusal
from rollbackd.model.incident import Outcome, Phase
from rollbackd.settings.effective import Role
from tests.unit.cli.conftest import Run
from tests.unit.web.samples import HELD, HOSTILE, NOW, V1, V2, incident
from tests.unit.web.world import World, keep, keep_recovered

ID = "20260131-120000-7f3a"


async def keep_held(world: World) -> None:
    one = await keep(
        world.store, incident(phase=Phase.CLOSED, outcome=Outcome.HELD, decision=HELD.action, reason=HELD.reason, closed_at=NOW)
    )
    await world.store.incidents.save(one, one, decision=HELD)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (output, look):
        monkeypatch.setattr(module, "on_terminal", lambda: True)


async def test_status(world: World, rollbackd: Run) -> None:
    await world.store.pauses.set("global", NOW + timedelta(hours=1), "maintenance", "oncall", NOW)
    result = await rollbackd("status", role=Role.VIEWER)
    assert (result.exit_code, result.stdout.splitlines()) == (
        0,
        [
            "rollbackd 0.1.0 is ready, since 2026-01-31T12:00:00.000Z",
            f"config: {world.config}, in use since 2026-01-31T12:00:00.000Z",
            "paused: global until 2026-01-31T13:00:00.000Z: maintenance (oncall)",
            "checkout\tpaused\t\tcheckout-quick\t",
        ],
    )
    data = json.loads((await rollbackd("status", "--json")).stdout)
    assert data["daemon"]["ready"] is True
    assert data["services"][0]["name"] == "checkout"


async def test_status_says_that_the_last_reload_failed_and_why(world: World, rollbackd: Run) -> None:
    world.operator.refusal = Refusal(at=NOW + timedelta(hours=1), problems=("a.yaml:3:1: odd\x1b[31m", "a.yaml:4:1: odder"))
    lines = (await rollbackd("status")).stdout.splitlines()
    assert lines[2].startswith("the last reload failed, at 2026-01-31T13:00:00.000Z: a.yaml:3:1: odd")
    assert lines[2].endswith(" (and 1 more: 'rollbackd check')")
    assert "\x1b" not in lines[2]


async def test_status_names_a_service_that_is_gone_while_its_incident_goes_on(world: World, rollbackd: Run) -> None:
    await keep(world.store, incident(service="basket"))
    assert (await rollbackd("status")).stdout.splitlines()[2].startswith("basket is not in the config any more: its incident goes on")


async def test_status_says_why_the_daemon_is_not_ready(world: World, rollbackd: Run) -> None:
    world.health.why_not = "the store is full"
    assert "rollbackd 0.1.0 is not ready: the store is full" in (await rollbackd("status")).stdout


async def test_list(world: World, rollbackd: Run) -> None:
    await keep_recovered(world.store)
    await keep(world.store, incident(id="20260131-130000-0000", service="other"))
    result = await rollbackd("list", "--outcome", "recovered")
    assert result.stdout == f"{ID}\tcheckout\trecovered\tto_blame\tv2\tv1\n"
    assert len((await rollbackd("list", "--limit", "1")).stdout.splitlines()) == 1
    assert [one["id"] for one in json.loads((await rollbackd("list", "--service", "other", "--json")).stdout)["items"]] == [
        "20260131-130000-0000"
    ]


async def test_a_list_is_a_table_on_a_terminal(world: World, rollbackd: Run, terminal: None) -> None:
    assert (await rollbackd("list")).stdout == "no incidents\n"
    await keep_recovered(world.store)
    shown = (await rollbackd("list")).stdout
    assert shown.split()[:6] == ["incident", "service", "state", "reason", "suspect", "target"]


async def test_show_is_lines_of_facts(world: World, rollbackd: Run) -> None:
    await keep_recovered(world.store)
    lines = (await rollbackd("show", ID)).stdout.splitlines()
    assert lines[0] == "Rolled back from v2 to v1, and the service recovered: the release is to blame."
    assert "outcome\trecovered" in lines
    assert "target\tv1" in lines
    assert json.loads((await rollbackd("show", ID, "--json")).stdout)["checks"]


async def test_show_is_the_tree_on_a_terminal(world: World, rollbackd: Run, terminal: None) -> None:
    await keep_recovered(world.store)
    shown = (await rollbackd("show", ID)).stdout
    assert "└── ✔ outcome    recovered" in shown


async def test_explain_begins_with_why_and_marks_the_check_that_decided(world: World, rollbackd: Run) -> None:
    await keep_held(world)
    result = await rollbackd("explain", ID)
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Held: the service was rolled back a short time ago (the last rollback ended 12 min ago")
    assert [line.split("\t")[:3] for line in lines[1:]] == [
        ["", "HighErrorRate", "passed"],
        ["", "no_recent_release", "passed"],
        ["*", "cooldown", "failed"],
        ["", "running_version", "unknown"],
    ]
    data = json.loads((await rollbackd("explain", ID, "--json")).stdout)
    assert (data["deciding"], len(data["checks"])) == ("cooldown", 4)


async def test_explain_is_a_table_on_a_terminal_with_the_queries_below(world: World, rollbackd: Run, terminal: None) -> None:
    await keep_held(world)
    lines = (await rollbackd("explain", ID)).stdout.splitlines()
    assert lines[0].startswith("Held: ")
    assert any(line.startswith("▶  cooldown") for line in lines)
    assert lines[-1] == 'sum(increase(http_requests_total{service="checkout",code=~"5.."}[2m]))'


async def test_explain_says_that_there_is_nothing_to_explain(world: World, rollbackd: Run) -> None:
    await keep(world.store, incident())
    assert (await rollbackd("explain", ID)).stdout == "Judging.\nnothing was decided by evidence: there are no checks\n"


async def test_logs(world: World, rollbackd: Run) -> None:
    await keep_recovered(world.store)
    assert (await rollbackd("logs", ID)).stdout == (
        "== deploy the target image: failed, exit 3\n"
        "no route to the registry\n"
        "== deploy the target image (try 2): succeeded, exit 0\n"
        "deployed shop:v1\n"
        "== healthy again: succeeded\n"
    )
    assert len(json.loads((await rollbackd("logs", ID, "--json")).stdout)) == 3


async def test_logs_of_an_incident_without_steps(world: World, rollbackd: Run) -> None:
    await keep(world.store, incident())
    result = await rollbackd("logs", ID)
    assert (result.stdout, result.stderr) == ("", "no step was started\n")


async def test_report(world: World, rollbackd: Run) -> None:
    await keep_recovered(world.store)
    assert (await rollbackd("report", ID)).stdout.startswith("# ")
    assert json.loads((await rollbackd("report", ID, "--format", "json")).stdout)["incident"]["outcome"] == "recovered"
    assert json.loads((await rollbackd("report", ID, "--json")).stdout)["incident"]["id"] == ID


async def test_routes_test(world: World, rollbackd: Run) -> None:
    result = await rollbackd("routes", "test", "service=checkout", "alertname=HighErrorRate")
    assert (result.exit_code, result.stdout.split("\t")[:2]) == (0, ["checkout", "HighErrorRate"])
    result = await rollbackd("routes", "test", "service=other", "--json")
    assert (result.exit_code, json.loads(result.stdout)["reason"]) == (3, "no_service")


@pytest.mark.parametrize("label", ["alertname", "=x"])
async def test_a_label_without_a_value_is_a_usage_error(rollbackd: Run, label: str) -> None:
    result = await rollbackd("routes", "test", label)
    assert result.exit_code == 2
    assert "write NAME=VALUE" in result.stderr


async def test_a_label_may_hold_an_equals_sign(world: World, rollbackd: Run) -> None:
    assert (await rollbackd("routes", "test", "service=checkout", "alertname=HighErrorRate", "url=?a=b&c")).exit_code == 0


async def test_hostile_text_is_harmless_everywhere(world: World, rollbackd: Run) -> None:
    hostile = incident(alertname=HOSTILE, suspect=HOSTILE, target=HOSTILE, request_reason=HOSTILE, requested_by=HOSTILE)
    await keep(world.store, hostile)
    for command in (["list"], ["show", ID], ["explain", ID]):
        shown = (await rollbackd(*command)).stdout
        assert not set("\x1b\x07\u202e") & set(shown)
        assert not any(line.startswith("forged") for line in shown.splitlines())


async def test_an_incident_that_is_not_there_is_a_usage_error_with_advice(rollbackd: Run) -> None:
    for command in ("show", "explain", "logs", "report", "watch"):
        result = await rollbackd(command, "nope")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr == "rollbackd: no incident nope: see 'rollbackd list'\n"


async def test_release_list(world: World, rollbackd: Run) -> None:
    for release in (V1, V2):
        await world.store.releases.record(release)
    lines = (await rollbackd("release", "list", "checkout")).stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["v2", "v1"]
    assert json.loads((await rollbackd("release", "list", "checkout", "--json")).stdout)["items"][0]["version"] == "v2"
