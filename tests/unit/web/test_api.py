from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.incident import Event, Outcome, Phase
from rollbackd.model.readiness import ReadinessCheck, ReadinessVerdict
from rollbackd.prometheus.servers import ServerAnswer
from rollbackd.settings.effective import Role
from tests.unit.web.samples import NOW, V1, V2, after, incident
from tests.unit.web.world import World, keep, keep_recovered


async def get(world: World, path: str) -> Any:
    async with world.http.get(f"{world.url}/api/v1/{path}", headers=world.as_(Role.VIEWER)) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        return await response.json()


async def refusal(world: World, path: str) -> tuple[int, str]:
    async with world.http.get(f"{world.url}/api/v1/{path}", headers=world.as_(Role.VIEWER)) as response:
        return response.status, (await response.json(content_type="application/problem+json"))["detail"]


async def test_status_counts_services_and_names_what_is_open_and_paused(world: World) -> None:
    await keep(world.store, incident())
    await world.store.pauses.set("global", NOW + timedelta(hours=1), "maintenance", "oncall", NOW)
    found = await get(world, "status")
    assert (found["version"], found["ready"], found["services"]) == ("0.1.0", True, 1)
    assert [one["id"] for one in found["incidents_open"]] == ["20260131-120000-7f3a"]
    assert [(one["scope"], one["until"]) for one in found["pauses"]] == [("global", "2026-01-31T13:00:00.000Z")]


async def test_services_say_how_they_stand(world: World) -> None:
    await keep(world.store, incident())
    await world.store.releases.record(V1)
    await world.store.pauses.set("checkout", NOW + timedelta(hours=1), "maintenance", "oncall", NOW)
    found = await get(world, "services")
    assert found["next"] is None
    (one,) = found["items"]
    assert (one["name"], one["mode"], one["runbook"], one["live"]) == ("checkout", "auto", "checkout-quick", "v1")
    assert (one["incident"], one["pause"]["paused"]) == ("20260131-120000-7f3a", True)


async def test_status_and_services_say_whether_a_rollback_would_work(world: World) -> None:
    ready = {"service": "checkout", "verdict": "ready", "at": "2026-01-31T12:00:00.000Z", "problems": []}
    assert (await get(world, "status"))["readiness"] == [ready]
    world.health.checks = (ReadinessCheck(name="target", verdict=ReadinessVerdict.UNKNOWN, detail="the source does not answer"),)
    not_known = {**ready, "verdict": "unknown", "problems": ["target: the source does not answer"]}
    assert (await get(world, "status"))["readiness"] == [not_known]
    assert (await get(world, "services"))["items"][0]["readiness"] == not_known


async def test_doctor_says_everything_of_the_daemon_and_of_each_service(world: World) -> None:
    world.health.servers = (
        ServerAnswer(name="main", clock_offset=timedelta(seconds=-7), problem="its clock is off"),
        ServerAnswer(name="b"),
    )
    world.health.config_changed = (Path("/etc/rollbackd/rollbackd.yaml"),)
    found = await get(world, "doctor")
    assert (found["version"], found["ready"], found["store"]) == ("0.1.0", True, {"problem": ""})
    assert found["config"]["changed"] == [found["config"]["file"]] == ["/etc/rollbackd/rollbackd.yaml"]
    assert found["prometheus"] == [
        {"name": "main", "problem": "its clock is off", "clock_offset": -7.0},
        {"name": "b", "problem": "", "clock_offset": None},
    ]
    (one,) = found["services"]
    assert one["checks"] == [{"name": "runbook", "verdict": "ready", "detail": "checkout-quick"}]


async def test_the_plan_is_the_operators_with_another_target_on_request(world: World) -> None:
    assert (await get(world, "services/checkout/plan"))["digest"] == "d1gest"
    await get(world, "services/checkout/plan?to=v0")
    assert world.operator.asked == [("plan", "checkout", None, None), ("plan", "checkout", "v0", None)]


async def test_one_incident_has_everything_that_is_known_of_it(world: World) -> None:
    await keep_recovered(world.store)
    found = await get(world, "incidents/20260131-120000-7f3a")
    assert (found["phase"], found["outcome"], found["decision"], found["deciding"]) == ("closed", "recovered", "roll_back", None)
    assert [check["name"] for check in found["checks"]] == ["stale_alert", "HighErrorRate", "no_recent_release", "cooldown"]
    assert [attempt["output"] for attempt in found["attempts"]] == ["no route to the registry\n", "deployed shop:v1\n", ""]
    assert len(found["looks"]) == 5
    assert [entry["kind"] for entry in found["timeline"]] == ["alert", "decision", "phase"]


async def test_an_incident_that_is_not_there_is_404(world: World) -> None:
    status, detail = await refusal(world, "incidents/nope")
    assert status == 404
    assert "rollbackd list" in detail


async def seven_incidents(world: World) -> None:
    """The newest is open, the others are closed as held, expired, held, …"""
    for number in range(7):
        one = await keep(world.store, incident(id=f"incident-{number}", opened_at=after(number)))
        if number < 6:
            closed = one.after(Event.CLOSE, outcome=Outcome.EXPIRED if number % 2 else Outcome.HELD, closed_at=after(number))
            await world.store.incidents.save(one, closed)


async def test_incidents_come_newest_first_page_by_page(world: World) -> None:
    await seven_incidents(world)
    pages = [await get(world, "incidents?limit=3")]
    while pages[-1]["next"] is not None:
        pages.append(await get(world, f"incidents?limit=3&cursor={pages[-1]['next']}"))
    assert [[one["id"] for one in page["items"]] for page in pages] == [
        ["incident-6", "incident-5", "incident-4"],
        ["incident-3", "incident-2", "incident-1"],
        ["incident-0"],
    ]


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("outcome=expired", [5, 3, 1]),
        ("phase=deciding", [6]),
        ("phase=closed&outcome=held", [4, 2, 0]),
        ("service=checkout&limit=1", [6]),
        ("service=nobody", []),
    ],
)
async def test_incidents_are_filtered(world: World, query: str, numbers: list[int]) -> None:
    await seven_incidents(world)
    assert [one["id"] for one in (await get(world, f"incidents?{query}"))["items"]] == [f"incident-{number}" for number in numbers]


@pytest.mark.parametrize(
    ("query", "advice"),
    [
        ("phase=decidign", "did you mean 'deciding'?"),
        ("outcome=nice", "there is "),
        ("servce=checkout", "did you mean 'service'?"),
        ("service=a&service=b", "stands twice"),
        ("limit=0", "from 1 to 200"),
        ("limit=201", "from 1 to 200"),
        ("limit=1e9", "from 1 to 200"),
        ("limit=-1", "from 1 to 200"),
        ("limit=", "from 1 to 200"),
        ("limit=99999999999999999999", "from 1 to 200"),
        ("cursor=nonsense", "is not a cursor"),
    ],
)
async def test_a_filter_that_cannot_be_meant_is_400_and_not_another_list(world: World, query: str, advice: str) -> None:
    status, detail = await refusal(world, f"incidents?{query}")
    assert status == 400
    assert advice in detail


async def test_a_listed_incident_has_its_attempts_without_their_output(world: World) -> None:
    await keep_recovered(world.store)
    (one,) = (await get(world, "incidents"))["items"]
    assert [attempt["status"] for attempt in one["attempts"]] == ["failed", "succeeded", "succeeded"]
    assert "output" not in one["attempts"][0]
    assert "checks" not in one


@pytest.mark.parametrize(
    ("query", "content_type", "part"), [("", "text/markdown", "checkout"), ("?format=json", "application/json", '"outcome": "recovered"')]
)
async def test_the_report_comes_in_both_forms(world: World, query: str, content_type: str, part: str) -> None:
    await keep_recovered(world.store)
    url = f"{world.url}/api/v1/incidents/20260131-120000-7f3a/report{query}"
    async with world.http.get(url, headers=world.as_(Role.VIEWER)) as response:
        assert (response.status, response.content_type) == (200, content_type)
        assert part in await response.text()


async def test_a_report_has_no_other_form(world: World) -> None:
    assert await refusal(world, "incidents/x/report?format=pdf") == (400, "format: Input should be 'md' or 'json'")
    assert (await refusal(world, "incidents/x/report"))[0] == 404


async def test_releases_of_a_service_newest_first(world: World) -> None:
    for release in (V1, V2, replace(V1, service="other")):
        await world.store.releases.record(release)
    found = await get(world, "releases?service=checkout")
    assert [one["version"] for one in found["items"]] == ["v2", "v1"]
    assert found["next"] is None


async def test_releases_need_a_service_that_is_in_the_config(world: World) -> None:
    assert (await refusal(world, "releases")) == (400, "'service' is missing")
    assert (await refusal(world, "releases?service=chekout")) == (404, "no service 'chekout': did you mean 'checkout'?")


async def test_changes_of_a_service_newest_first(world: World) -> None:
    change = Change(service="checkout", kind=ChangeKind.FLAG, what="new checkout on", at=after(-60), by="ci")
    for one in (change, replace(change, what="and off again", at=after(0)), replace(change, service="other")):
        await world.store.changes.record(one)
    found = await get(world, "changes?service=checkout")
    assert [one["what"] for one in found["items"]] == ["and off again", "new checkout on"]
    expected = {"service": "checkout", "kind": "flag", "what": "new checkout on", "at": "2026-01-31T11:59:00.000Z", "by": "ci"}
    assert found["items"][1] == expected
    assert found["next"] is None


async def test_changes_need_a_service_that_is_in_the_config(world: World) -> None:
    assert (await refusal(world, "changes")) == (400, "'service' is missing")
    assert (await refusal(world, "changes?service=chekout")) == (404, "no service 'chekout': did you mean 'checkout'?")
    assert (await refusal(world, "changes?service=checkout&kind=flag")) == (400, "no parameter 'kind' here: there is service")


async def test_routes_say_where_an_alert_would_go(world: World) -> None:
    found = await get(world, "routes?service=checkout&alertname=HighErrorRate")
    assert (found["service"], found["trigger"], found["reason"]) == ("checkout", "HighErrorRate", None)
    found = await get(world, "routes?service=other")
    assert (found["service"], found["reason"]) == (None, "no_service")
    assert found["why"]


async def test_the_open_incident_of_a_service_is_its_own(world: World) -> None:
    await keep(world.store, incident(service="other", id="other-incident"))
    (one,) = (await get(world, "services"))["items"]
    assert one["incident"] is None
    assert (await get(world, "incidents?phase=deciding"))["items"][0]["phase"] == Phase.DECIDING
