"""What people decide and try to decide is in the audit: who, from where, when, what, why, and what came of it."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.clock import SystemClock
from rollbackd.errors import RollbackdError
from rollbackd.model.audit import AuditEntry
from rollbackd.store.store import Store
from tests.flow.world import SERVICE, World

DAY = timedelta(days=1)


async def told(world: World) -> list[tuple[Any, ...]]:
    """Oldest first, without the times."""
    items = (await world.get("/api/v1/audit"))["items"]
    assert {one["remote"] for one in items} <= {"127.0.0.1"}
    return [(one["person"], one["action"], one["subject"], one["reason"], one["result"]) for one in items[::-1]]


async def test_every_decision_and_every_refused_one_is_told(tmp_path: Path) -> None:
    async with World(tmp_path, mode="propose") as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        await world.alert()
        proposed = await world.reached("proposed")
        path = f"/api/v1/incidents/{proposed['id']}"
        await world.post(f"{path}/approve", {"plan": "another"}, expect=409)
        await world.post("/api/v1/pause", {"service": SERVICE, "for": "1h", "reason": "big sale"})
        await world.post(f"{path}/approve", {"plan": proposed["plan"]}, expect=409)
        await world.post("/api/v1/resume", {"service": SERVICE})
        await world.post(f"{path}/approve", {"plan": proposed["plan"]})
        await world.closed()
        await world.post(f"{path}/abort", {"reason": "too late"}, expect=409)
        await world.post(f"{path}/acknowledge", {"reason": "seen"})
        await world.post(f"/api/v1/releases/{SERVICE}/v2/mark", {"mark": "good", "reason": "innocent"})
        await world.post("/api/v1/changes", {"service": SERVICE, "kind": "flag", "what": "checkout_v2 on"})
        await world.post(f"/api/v1/services/{SERVICE}/rollback", {"to": "v1", "reason": "again"}, expect=409)

        incident = proposed["id"]
        assert await told(world) == [
            ("oncall", "release", f"{SERVICE} v1", "live", "done"),
            ("oncall", "release", f"{SERVICE} v2", "live", "done"),
            ("oncall", "approve", incident, "plan another", "outdated_plan"),
            ("oncall", "pause", SERVICE, "big sale", "done"),
            ("oncall", "approve", incident, f"plan {proposed['plan']}", "paused"),
            ("oncall", "resume", SERVICE, "", "done"),
            ("oncall", "approve", incident, f"plan {proposed['plan']}", "done"),
            ("oncall", "abort", incident, "too late", "closed"),
            ("oncall", "acknowledge", incident, "seen", "done"),
            ("oncall", "mark none", f"{SERVICE} v2", "innocent", "done"),
            ("oncall", "change", f"{SERVICE} flag", "checkout_v2 on", "done"),
            ("oncall", "rollback", SERVICE, "again", "bad_target"),
        ]
        shown = (await world.cli("audit", "--limit", "2")).stdout.splitlines()
        assert [line.split("\t")[1:] for line in shown] == [
            ["oncall", "127.0.0.1", "rollback", SERVICE, "bad_target", "again"],
            ["oncall", "127.0.0.1", "change", f"{SERVICE} flag", "done", "checkout_v2 on"],
        ]


async def test_a_rollback_by_hand_names_its_incident(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.release("v1", ago=DAY)
        await world.release("v2")
        begun = await world.post(f"/api/v1/services/{SERVICE}/rollback", {"to": "v1", "reason": "customers complain"}, expect=202)
        assert (await told(world))[-1] == ("oncall", "rollback", begun["id"], "customers complain", "done")


async def test_what_was_known_already_is_nobodys_decision(tmp_path: Path) -> None:
    """A CI job that says the same again and again does not fill what is never deleted."""
    async with World(tmp_path) as world:
        at = SystemClock().now().isoformat()
        for _ in range(3):
            await world.post("/api/v1/releases", {"service": SERVICE, "version": "v1", "started_at": at})
            await world.post("/api/v1/changes", {"service": SERVICE, "kind": "flag", "what": "on", "at": at})
        assert [action for _, action, *_ in await told(world)] == ["release", "change"]


async def test_pages_follow_each_other(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        for number in range(5):
            await world.post("/api/v1/pause", {"service": None, "for": "1h", "reason": f"{number}"})
        reasons: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = await world.get(f"/api/v1/audit?limit=2{cursor and f'&cursor={cursor}'}")
            reasons += [one["reason"] for one in page["items"]]
            cursor = page["next"]
        assert reasons == ["4", "3", "2", "1", "0"]
        for wrong in ("x", "-1", "9" * 30, "1.5"):
            async with world.http.get(
                f"{world.url}/api/v1/audit?cursor={wrong}", headers={"Authorization": f"Bearer {world.token}"}
            ) as response:
                assert response.status == 400


async def test_a_decision_that_cannot_be_audited_is_not_done(tmp_path: Path) -> None:
    """Both are one transaction."""
    file = tmp_path / "rollbackd.db"
    now = SystemClock().now()
    entry = AuditEntry(now, "oncall", "pause", "api", "big sale")
    async with Store.opened(f"sqlite:///{file}", clock=SystemClock()):
        pass
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END")
    async with Store.opened(f"sqlite:///{file}", clock=SystemClock()) as store:
        with pytest.raises(RollbackdError, match="no room"):
            await store.pauses.set("api", now + DAY, "big sale", "oncall", now, audited=entry)
        assert await store.pauses.all(now) == ()


async def test_no_row_can_be_replaced(tmp_path: Path) -> None:
    """`INSERT OR REPLACE` deletes, and asks no trigger against DELETE."""
    file = tmp_path / "rollbackd.db"
    async with Store.opened(f"sqlite:///{file}", clock=SystemClock()) as store:
        await store.audit.append(SystemClock().now(), "oncall", "pause", "api", "", remote="10.1.2.3", result="paused")
        with closing(sqlite3.connect(file)) as connection:
            for statement in (
                "INSERT OR REPLACE INTO audit (arrival, at, person, action, subject, reason) VALUES (1, 1, 'x', 'x', 'x', 'x')",
                "UPDATE audit SET person = 'x'",
                "DELETE FROM audit",
            ):
                with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                    connection.execute(statement)
        (entry,) = await store.audit.newest()
        assert (entry.person, entry.remote, entry.result) == ("oncall", "10.1.2.3", "paused")
