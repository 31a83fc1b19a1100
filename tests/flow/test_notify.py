"""People are told by channels, and Alertmanager what rollbackd is at: through the whole daemon, over real HTTP."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.clock import SystemClock
from rollbackd.flow import courier, pager
from tests.fakes.hook import Hook
from tests.flow.test_way_of_an_alert import bad_release
from tests.flow.world import SERVICE, World


def channel(hook: Hook, **more: Any) -> dict[str, Any]:
    return {"name": "hook", "webhook": {"url": hook.url}, **more}


async def test_each_thing_that_happens_is_told_once(tmp_path: Path) -> None:
    async with Hook() as hook, World(tmp_path, mode="propose", top={"notify": [channel(hook)]}) as world:
        await bad_release(world)
        await world.alert()
        proposal = await world.reached("proposed")
        await hook.reached(1)
        await world.post(f"/api/v1/incidents/{proposal['id']}/approve", {"plan": None})
        await world.closed()
        told = [one.json for one in await hook.reached(3)]

    assert [(one["topic"], one["severity"]) for one in told] == [("proposed", "warning"), ("rolling_back", "info"), ("closed", "info")]
    assert {(one["incident"], one["service"], one["suspect"], one["target"]) for one in told} == {(proposal["id"], SERVICE, "v2", "v1")}
    assert told[-1]["outcome"] == "recovered"
    assert told[0]["title"] == f"[warning] {SERVICE}: roll back? a person has to say"
    assert f"rollbackd approve {proposal['id']}" in told[0]["body"]


async def test_a_channel_hears_from_its_severity_on_in_its_language_and_names_its_contacts(tmp_path: Path) -> None:
    top = {
        "contacts": [{"role": "技术", "name": "李伟", "channel": "urgent"}, {"role": "other", "name": "Ann", "channel": "all"}],
        "report": {"language": "zh"},
    }
    async with Hook() as all_of_it, Hook() as urgent:
        channels = [channel(all_of_it, language="en") | {"name": "all"}, channel(urgent, min_severity="warning") | {"name": "urgent"}]
        async with World(tmp_path, mode="propose", top={**top, "notify": channels}) as world:
            await bad_release(world)
            await world.alert()
            proposal = await world.reached("proposed")
            await world.post(f"/api/v1/incidents/{proposal['id']}/reject", {"reason": "a test"})
            await world.closed()
            await all_of_it.reached(2)
    (only,) = [one.json for one in urgent.taken]
    assert only["title"] == f"[警告] {SERVICE}：是否回滚？需要人工确认"
    assert only["body"].endswith("联系人：李伟 (技术)")
    assert all("Ann (other)" in one.json["body"] and "trigger: HighErrorRate" in one.json["body"] for one in all_of_it.taken)


async def test_after_a_restart_nothing_is_told_twice(tmp_path: Path) -> None:
    async with Hook() as hook, World(tmp_path, mode="propose", top={"notify": [channel(hook)]}) as world:
        await bad_release(world)
        await world.alert()
        await world.reached("proposed")
        await hook.reached(1)
        await world.stop()
        await world.start()
        proposal = await world.reached("proposed")
        await world.post(f"/api/v1/incidents/{proposal['id']}/reject", {"reason": "a test"})
        told = await hook.reached(2)
    assert [one.json["topic"] for one in told] == ["proposed", "closed"]


async def test_what_one_channel_refuses_again_and_again_lets_others_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "FIRST_PAUSE", timedelta(milliseconds=5))
    monkeypatch.setattr(courier, "LONGEST_PAUSE", timedelta(milliseconds=20))
    async with Hook() as hook, World(tmp_path, mode="propose", top={"notify": [channel(hook)]}) as world:
        hook.status = 413
        await bad_release(world)
        await world.alert()
        proposal = await world.reached("proposed")
        await hook.until(lambda: len(hook.got) >= 7)
        assert {one.json["topic"] for one in hook.got} == {"proposed"}
        await world.post(f"/api/v1/incidents/{proposal['id']}/reject", {"reason": "a test"})
        await world.closed()
        await hook.until(lambda: {one.json["topic"] for one in hook.got} != {"proposed"})
        hook.status = 200
        await hook.reached(2)
        async with world.http.get(f"{world.url}/metrics") as response:
            metrics = await response.text()
    assert 'rollbackd_notify_messages_total{channel="hook",result="failed"}' in metrics


async def test_the_test_message_from_the_command_line(tmp_path: Path) -> None:
    async with Hook() as good, Hook() as bad:
        bad.status = 500
        channels = [channel(good) | {"name": "good"}, channel(bad) | {"name": "bad"}]
        async with World(tmp_path, top={"notify": channels}) as world:
            both = await world.cli("notify", "test")
            one = await world.cli("notify", "test", "good")
            unknown = await world.cli("notify", "test", "goof")
            await good.reached(2)
        assert (both.exit_code, both.stdout.splitlines()) == (4, ["good: delivered", "bad: not delivered: it answered HTTP 500"])
        assert (one.exit_code, one.stdout.splitlines()) == (0, ["good: delivered"])
        assert unknown.exit_code != 0
        assert "no channel 'goof' in the config: did you mean 'good'" in unknown.output
        assert good.taken[0].json["title"] == "[info] rollbackd: a test message"


async def test_alertmanager_is_told_while_it_lasts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pager, "_AGAIN", timedelta(milliseconds=100))
    async with Hook() as hook:
        top = {"alertmanager": {"url": f"http://127.0.0.1:{hook.port}"}}
        async with World(tmp_path, mode="propose", top=top) as world:
            await bad_release(world)
            await world.alert()
            proposal = await world.reached("proposed")
            await heard(hook, "RollbackNeedsPerson", stands=True)
            await world.post(f"/api/v1/incidents/{proposal['id']}/approve", {"plan": None})
            await heard(hook, "RollbackInProgress", stands=True)
            await heard(hook, "RollbackNeedsPerson", stands=False)
            await world.closed()
            await heard(hook, "RollbackInProgress", stands=False)
    assert {one.path for one in hook.got} == {"/api/v2/alerts"}
    alerts = [alert for got in hook.taken for alert in got.json]
    assert {alert["labels"]["service"] for alert in alerts} == {SERVICE}
    assert {(alert["labels"]["alertname"], alert["labels"].get("severity")) for alert in alerts} == {
        ("RollbackNeedsPerson", "critical"),
        ("RollbackInProgress", None),
    }


async def test_an_alertmanager_that_is_down_stops_nothing(tmp_path: Path) -> None:
    async with Hook() as hook:
        hook.status = 500
        async with World(tmp_path, top={"alertmanager": {"url": f"http://127.0.0.1:{hook.port}"}}) as world:
            await bad_release(world)
            await world.alert()
            assert (await world.closed())["outcome"] == "recovered"
    assert hook.got
    assert not hook.taken


async def heard(hook: Hook, name: str, *, stands: bool) -> None:
    """Alertmanager was told, last, that this alert is to stand for a while, or that it is over."""
    await hook.until(lambda: _last(hook, name) is stands)


def _last(hook: Hook, name: str) -> bool | None:
    ends = [datetime.fromisoformat(one["endsAt"]) for got in hook.taken for one in got.json if one["labels"]["alertname"] == name]
    return ends[-1] > SystemClock().now() + pager.LIVES / 2 if ends else None
