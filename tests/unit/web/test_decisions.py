import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollbackd.flow.by_hand import Wish
from rollbackd.model.change import ChangeKind
from rollbackd.model.release import Mark, ReleaseStatus
from rollbackd.releases.register import ReleaseReport
from rollbackd.settings.effective import Role
from rollbackd.web import body
from tests.unit.web.samples import incident
from tests.unit.web.world import TOKENS, World, keep

ID = "20260131-120000-7f3a"
BY = "operator-person"


async def post(world: World, path: str, body: object = None, *, role: Role = Role.OPERATOR) -> tuple[int, Any]:
    async with world.http.post(f"{world.url}/api/v1/{path}", json=body, headers=world.as_(role)) as response:
        return response.status, await response.json(content_type=None)


@pytest.mark.parametrize(
    ("what", "body", "asked"),
    [
        ("approve", {"plan": "d1gest"}, ("approve", ID, "d1gest", BY)),
        ("approve", {"plan": None}, ("approve", ID, None, BY)),
        ("tick", {"step": "log-in works"}, ("tick", ID, "log-in works", BY)),
        ("approve", {}, ("approve", ID, None, BY)),
        ("reject", {"reason": " not now "}, ("reject", ID, "not now", BY)),
        ("abort", {"reason": "wrong service"}, ("abort", ID, "wrong service", BY)),
        ("acknowledge", {"reason": "seen"}, ("acknowledge", ID, "seen", BY)),
    ],
)
async def test_a_persons_word_about_an_incident_reaches_the_operator_with_the_name(
    world: World, what: str, body: object, asked: tuple[object, ...]
) -> None:
    await keep(world.store, incident())
    status, answer = await post(world, f"incidents/{ID}/{what}", body)
    assert (status, answer["id"], answer["checks"], answer["attempts"]) == (200, ID, [], [])
    assert world.operator.asked == [asked]


async def test_a_rollback_by_hand_is_202_with_the_incident(world: World) -> None:
    world.operator.incident = await keep(world.store, incident())
    body = {"to": "v1", "plan": "d1gest", "reason": "log-in broken", "reason_code": "critical-function", "while_paused": True}
    status, answer = await post(world, "services/checkout/rollback", body)
    assert (status, answer["id"]) == (202, ID)
    asked = Wish(reason="log-in broken", to="v1", plan="d1gest", reason_code="critical-function", while_paused=True)
    assert world.operator.asked == [("rollback", "checkout", asked, BY)]


async def test_a_rollback_needs_no_more_than_a_reason(world: World) -> None:
    world.operator.incident = await keep(world.store, incident())
    assert (await post(world, "services/checkout/rollback", {"reason": "x"}))[0] == 202
    assert world.operator.asked == [("rollback", "checkout", Wish(reason="x"), BY)]


async def test_another_runbook_is_202_with_the_incident(world: World) -> None:
    world.operator.incident = await keep(world.store, incident())
    body = {"runbook": "data-restore", "plan": "d1gest", "reason": "rows are gone", "confirm": "shop"}
    status, answer = await post(world, "services/checkout/run", body)
    assert (status, answer["id"]) == (202, ID)
    asked = Wish(reason="rows are gone", plan="d1gest", confirm="shop")
    assert world.operator.asked == [("run", "checkout", "data-restore", asked, BY)]
    assert (await post(world, "services/checkout/run", {"reason": "x"}))[0] == 400


async def test_pause_and_resume_of_one_service_and_of_all(world: World) -> None:
    status, paused = await post(world, "pause", {"service": "checkout", "for": "2h", "reason": "maintenance"})
    assert (status, paused) == (
        200,
        {"scope": "checkout", "paused": True, "until": "2026-01-31T14:00:00.000Z", "why": "maintenance"},
    )
    await post(world, "pause", {"for": "30m", "reason": "maintenance"})
    assert (await post(world, "resume", {"service": "checkout"})) == (200, {"scope": "checkout", "resumed": True})
    world.operator.resumed = False
    assert (await post(world, "resume", {"service": None})) == (200, {"scope": "global", "resumed": False})
    assert world.operator.asked == [
        ("pause", "checkout", timedelta(hours=2), "maintenance", BY),
        ("pause", None, timedelta(minutes=30), "maintenance", BY),
        ("resume", "checkout", BY),
        ("resume", None, BY),
    ]


STARTED = datetime(2023, 9, 22, 15, 3, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("body", "report"),
    [
        ({"service": "checkout", "version": "v2"}, ReleaseReport(service="checkout", version="v2")),
        (
            {
                "service": "checkout",
                "version": "v2",
                "artifact": "shop:v2",
                "started_at": 1695394990,
                "live_at": 1695394996.5,
                "status": "live",
            },
            ReleaseReport(
                service="checkout",
                version="v2",
                artifact="shop:v2",
                started_at=STARTED,
                live_at=STARTED + timedelta(seconds=6.5),
                status=ReleaseStatus.LIVE,
            ),
        ),
        (
            {"service": "checkout", "version": "v2", "deployed_at": "2023-09-22T17:03:10+02:00", "irreversible": True},
            ReleaseReport(service="checkout", version="v2", started_at=STARTED, live_at=STARTED, irreversible=True),
        ),
        (
            {"service": "checkout", "version": "v2", "group": "g", "schema": "42", "schema_compatible": True, "status": "rolling"},
            ReleaseReport(service="checkout", version="v2", group="g", schema="42", schema_compatible=True, status=ReleaseStatus.ROLLING),
        ),
    ],
)
async def test_a_release_is_recorded_as_it_was_said(world: World, body: object, report: ReleaseReport) -> None:
    status, answer = await post(world, "releases", body, role=Role.CI)
    assert (status, answer["version"]) == (201, "v2")
    assert world.operator.asked == [("record_release", report, "ci-person")]


async def test_the_same_release_again_is_200(world: World) -> None:
    world.operator.created = False
    assert (await post(world, "releases", {"service": "checkout", "version": "v2"}))[0] == 200


@pytest.mark.parametrize(("said", "at"), [(None, None), (1695394990, STARTED), ("2023-09-22T17:03:10+02:00", STARTED)])
@pytest.mark.parametrize("kind", ["flag", "config", "infra"])
async def test_a_change_is_recorded_as_it_was_said(world: World, kind: str, said: object, at: datetime | None) -> None:
    body = {"service": "checkout", "kind": kind, "what": " new checkout on for everybody "} | ({} if said is None else {"at": said})
    status, answer = await post(world, "changes", body, role=Role.CI)
    expected = "2026-01-31T12:00:00.000Z" if at is None else "2023-09-22T15:03:10.000Z"
    assert (status, answer) == (
        201,
        {"service": "checkout", "kind": kind, "what": "new checkout on for everybody", "at": expected, "by": "ci-person"},
    )
    assert world.operator.asked == [("record_change", "checkout", ChangeKind(kind), "new checkout on for everybody", at, "ci-person")]


async def test_the_same_change_again_is_200(world: World) -> None:
    world.operator.created = False
    assert (await post(world, "changes", {"service": "checkout", "kind": "flag", "what": "x"}))[0] == 200


@pytest.mark.parametrize(("said", "mark"), [("bad", Mark.BAD), ("good", Mark.NONE)])
@pytest.mark.parametrize(("path", "version"), [("v2", "v2"), ("shop%2Fapi:v2%40sha", "shop/api:v2@sha")])
async def test_a_release_is_marked_whatever_its_version_looks_like(world: World, said: str, mark: Mark, path: str, version: str) -> None:
    status, answer = await post(world, f"releases/checkout/{path}/mark", {"mark": said, "reason": "checked by hand"})
    assert (status, answer["mark"]) == (200, mark)
    assert world.operator.asked == [("mark", "checkout", version, mark, "checked by hand", BY)]


@pytest.mark.parametrize(
    ("path", "body", "advice"),
    [
        (f"incidents/{ID}/abort", {}, "'reason' is missing"),
        (f"incidents/{ID}/abort", {"reason": "  "}, "reason: "),
        (f"incidents/{ID}/abort", {"reason": 5}, "reason: "),
        (f"incidents/{ID}/abort", {"reason": "x" * 1001}, "reason: "),
        (f"incidents/{ID}/abort", {"reson": "x"}, "'reson' is not known here: did you mean 'reason'?"),
        (f"incidents/{ID}/approve", {"digest": "x"}, "'digest' is not known here: there is plan"),
        ("services/checkout/rollback", {"reason": "x", "reason_code": "mood"}, "reason_code: "),
        ("services/checkout/rollback", {"reason": "x", "while_paused": "yes"}, "while_paused: "),
        ("pause", {"for": "2 hours", "reason": "x"}, "for: '2 hours' is not a duration"),
        ("pause", {"for": 7200, "reason": "x"}, "for: write a duration such as 30m or 2h"),
        ("pause", {"for": "0s", "reason": "x"}, "for: no time at all"),
        ("pause", {"for_": "2h", "reason": "x"}, "'for_' is not known here: did you mean 'for'?"),
        ("releases", {"service": "checkout", "version": "v2", "started_at": "yesterday"}, "'yesterday' is not a time: write"),
        ("releases", {"service": "checkout", "version": "v2", "started_at": "2026-01-31T12:00:00"}, "has no time zone"),
        ("releases", {"service": "checkout", "version": "v2", "started_at": True}, "started_at: write epoch seconds or RFC 3339"),
        ("releases", {"service": "checkout", "version": "v2", "started_at": 1e300}, "is not a time in epoch seconds"),
        ("releases", {"service": "checkout", "version": 2}, "version: "),
        ("releases", {"service": "checkout", "version": "v2", "status": "done"}, "status: "),
        ("releases", {"service": "checkout", "version": "v2", "deployed_at": 1, "live_at": 2}, "'deployed_at' stands for both times"),
        ("releases/checkout/v2/mark", {"mark": "suspect", "reason": "x"}, "mark: "),
        ("releases", {"service": "checkout", "version": "v2", "live_at": "0001-01-01T00:00:00+14:00"}, "live_at: "),
        ("changes", {"service": "checkout", "kind": "flag"}, "'what' is missing"),
        ("changes", {"service": "checkout", "what": "x"}, "'kind' is missing"),
        ("changes", {"kind": "flag", "what": "x"}, "'service' is missing"),
        ("changes", {"service": "checkout", "kind": "mood", "what": "x"}, "kind: Input should be 'flag', 'config' or 'infra'"),
        ("changes", {"service": "checkout", "kind": "flag", "what": " "}, "what: "),
        ("changes", {"service": "checkout", "kind": "flag", "what": "x" * 1001}, "what: "),
        ("changes", {"service": "checkout", "kind": "flag", "what": ["x"]}, "what: "),
        ("changes", {"service": "checkout", "kind": "flag", "what": "x", "at": "yesterday"}, "at: "),
        ("changes", {"service": "checkout", "kind": "flag", "what": "x", "at": 1e300}, "at: 1e+300 is not a time"),
        ("changes", {"service": "checkout", "kind": "flag", "what": "x", "by": "me"}, "'by' is not known here"),
    ],
)
async def test_a_body_that_cannot_be_meant_is_400_with_what_to_do(world: World, path: str, body: object, advice: str) -> None:
    status, problem = await post(world, path, body)
    assert status == 400
    assert advice in problem["detail"]
    assert world.operator.asked == []


async def test_every_error_of_a_body_is_said_at_once(world: World) -> None:
    _, problem = await post(world, "pause", {"for": "soon", "servce": "x"})
    assert all(part in problem["detail"] for part in ("for: ", "'reason' is missing", "did you mean 'service'?"))


@pytest.mark.parametrize(
    ("raw", "advice"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"reason": NaN}', "NaN is not JSON"),
        (b'{"reason": "a", "reason": "b"}', "stands twice"),
        (b"[" * 60_000, "is nested too deeply"),
        (b'{"reason": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b'["reason"]', "is a JSON object"),
        (b'"reason"', "is a JSON object"),
        (b'{"reason": "\\ud800"}', "reason: "),
    ],
)
async def test_what_is_not_one_json_object_is_400(world: World, raw: bytes, advice: str) -> None:
    headers = world.as_(Role.OPERATOR) | {"Content-Type": "application/json"}
    async with world.http.post(f"{world.url}/api/v1/incidents/{ID}/abort", data=raw, headers=headers) as response:
        assert response.status == 400
        assert advice in (await response.json(content_type=None))["detail"]
    assert world.operator.asked == []


@pytest.mark.parametrize(
    "said",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": ""},
        {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    ],
)
async def test_a_body_that_is_not_said_to_be_json_as_it_is_is_415(world: World, said: dict[str, str]) -> None:
    headers = world.as_(Role.OPERATOR) | said
    async with world.http.post(f"{world.url}/api/v1/resume", data=b'{"service": "checkout"}', headers=headers) as response:
        assert response.status == 415


async def test_no_body_at_all_is_an_empty_object(world: World) -> None:
    async with world.http.post(f"{world.url}/api/v1/resume", headers=world.as_(Role.OPERATOR)) as response:
        assert response.status == 200


async def half_a_body(world: World, head: str, then: bytes) -> bytes:
    """The status line of the answer to a request whose body breaks off, or does not come."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.runner.addresses[0][1])
    common = f"Host: 127.0.0.1\r\nAuthorization: Bearer {TOKENS[Role.OPERATOR]}\r\nContent-Type: application/json\r\n"
    writer.write(f"POST /api/v1/resume HTTP/1.1\r\n{common}{head}\r\n\r\n".encode() + then)
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line


async def test_a_body_that_does_not_come_is_408(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "DEADLINE", timedelta(milliseconds=20))
    assert b" 408 " in await half_a_body(world, "Content-Length: 100", b'{"service"')


async def test_a_body_that_is_broken_is_400(world: World) -> None:
    assert b" 400 " in await half_a_body(world, "Transfer-Encoding: chunked", b"zz\r\nnot a chunk\r\n")
    assert world.operator.asked == []
