"""What each question costs with 10,000 incidents in the store: SQLite's own steps are counted, not the time they take."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from sqlite3 import connect
from typing import Any, Final

import orjson
import pytest
from sqlalchemy import Connection, event, insert
from sqlalchemy.engine import Engine

from rollbackd.model.alert import AlertStatus
from rollbackd.model.incident import Incident, Outcome, Phase
from rollbackd.store.columns import as_row
from rollbackd.store.store import Store
from rollbackd.store.tables import alerts, attempts, decisions, incidents, looks, releases, timeline
from tests.contract import samples
from tests.unit.store.conftest import StateDirectory

MANY: Final = 10_000
SERVICES: Final = 60
ENOUGH: Final = 8_000
"""Steps. A walk over all incidents is at least 50,000, a page of 50 about 1,500."""
STRIDE: Final = 100

NEWEST: Final = datetime.fromisoformat("2026-01-31T12:00:00+00:00")
LAST: Final = f"i{MANY - 1:05}"


def incident(number: int) -> Incident:
    at = NEWEST - timedelta(minutes=5) * (MANY - 1 - number)
    return samples.incident(
        f"i{number:05}",
        service=f"s{number % SERVICES}",
        phase=Phase.CLOSED,
        outcome=Outcome.RECOVERED if number % 10 == 0 else Outcome.HELD,
        opened_at=at,
        closed_at=at,
        told_at=at,
        starts_at=at,
        fingerprint=f"f{number}",
        rollback_started_at=at if number % 10 == 0 else None,
        rollback_ended_at=at if number % 10 == 0 else None,
    )


def fill(connection: Connection) -> None:
    made = [incident(number) for number in range(MANY)]
    connection.execute(insert(incidents), [as_row(incidents, one) for one in made])
    decision, look = samples.decision(), samples.look()
    connection.execute(insert(decisions), [{"incident_id": one.id, "record": decision} for one in made])
    connection.execute(insert(looks), [{"incident_id": one.id, "record": look} for one in made])
    tried = [samples.attempt(id=f"{one.id}-0-1", incident_id=one.id) for one in made]
    connection.execute(insert(attempts), [as_row(attempts, one) for one in tried])
    entry: dict[str, Any] = {"kind": "alert", "text": "one", "data": {}}
    connection.execute(insert(timeline), [{**entry, "incident_id": one.id, "at": one.opened_at} for one in made for _ in range(5)])
    rest = orjson.dumps(dict.fromkeys(("ends_at", "generator_url", "service", "trigger")) | {"labels": {}, "annotations": {}}).decode()
    alert = {"status": AlertStatus.FIRING, "rest": rest}
    rows = [{**alert, "starts_at": one.starts_at, "received_at": one.opened_at, "fingerprint": one.fingerprint} for one in made]
    connection.execute(
        insert(alerts), [{**row, "handled_at": one.opened_at, "incident_id": one.id} for row, one in zip(rows, made, strict=True)]
    )
    released = [samples.release(f"v{number}", service=f"s{number % SERVICES}", started_at=made[number].opened_at) for number in range(MANY)]
    connection.execute(insert(releases), [as_row(releases, one) for one in released])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> StateDirectory:
    """Filled once, asked by each; by the doors of the store it would take minutes."""
    state = StateDirectory(tmp_path_factory.mktemp("many") / "state")

    async def fill_it() -> None:
        async with state.open() as store:
            await store._database.write(fill)

    asyncio.run(fill_it())
    return state


@contextmanager
def asked_of_sqlite() -> Iterator[list[tuple[str, Any]]]:
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        statements.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def steps_of(file: Path, statement: str, parameters: Any) -> int:
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += STRIDE

    with closing(connect(file)) as connection:
        connection.set_progress_handler(count, STRIDE)
        connection.execute(statement, parameters).fetchall()
    return steps


Ask = Callable[[Store], Awaitable[object]]

QUESTIONS: Final[dict[str, Ask]] = {
    "the newest page": lambda store: store.incidents.page(),
    "a page in the middle": lambda store: store.incidents.page(cursor=f"{int(incident(5000).opened_at.timestamp() * 1e6)}_i05000"),
    "a page of a service": lambda store: store.incidents.page(service="s7"),
    "a page of a phase": lambda store: store.incidents.page(phase=Phase.CLOSED),
    "a page of an outcome": lambda store: store.incidents.page(outcome=Outcome.RECOVERED),
    "a page of a service and an outcome": lambda store: store.incidents.page(service="s10", outcome=Outcome.RECOVERED),
    "the open ones": lambda store: store.incidents.open_ones(),
    "what is left to do after a restart": lambda store: store.incidents.unfinished(),
    "the open one of a service": lambda store: store.incidents.open_of("s7"),
    "the latest of a service": lambda store: store.incidents.latest_of("s7"),
    "what an alert met": lambda store: store.incidents.met_by(samples.alert(service="s7")),
    "what an old alert met": lambda store: store.incidents.met_by(
        samples.alert(service="s7", starts_at=incident(7).starts_at, fingerprint="f7")
    ),
    "what was helped lately": lambda store: store.incidents.helped_since(NEWEST - timedelta(hours=1)),
    "the newest rollback": lambda store: store.incidents.newest_rollback(),
    "a rollback in between": lambda store: store.incidents.was_rolled_back(
        started_since=NEWEST - timedelta(hours=1), ended_since=NEWEST - timedelta(hours=1), until=NEWEST
    ),
    "the history of a service": lambda store: store.incidents.history("s7", NEWEST),
    "the trips of the fleet": lambda store: store.fleet.trips(NEWEST - timedelta(minutes=10)),
    "who speaks for the fleet": lambda store: store.fleet.spokesman(NEWEST - timedelta(minutes=10), except_incident=LAST),
    "an incident": lambda store: store.incidents.get(LAST),
    "its decisions": lambda store: store.incidents.decisions_of(LAST),
    "its last decision": lambda store: store.incidents.decision_of(LAST),
    "its attempts": lambda store: store.attempts.of_incident(LAST),
    "its looks": lambda store: store.looks.of_incident(LAST),
    "its story": lambda store: store.timeline.of_incident(LAST),
    "its alerts": lambda store: store.alerts.of_incident(LAST),
    "how many fired since": lambda store: store.alerts.fired_after(LAST, NEWEST),
    "whether it fires still": lambda store: store.alerts.still_firing("f7", NEWEST),
    "alerts that wait": lambda store: store.alerts.unhandled(),
    "what happened since": lambda store: store.timeline.after(5 * MANY - 10, 100),
    "releases of a service": lambda store: store.releases.of_service("s7"),
    "releases of an hour": lambda store: store.releases.since(NEWEST - timedelta(hours=1)),
}


@pytest.mark.parametrize("what", QUESTIONS)
async def test_a_question_does_not_walk_over_what_it_does_not_ask_for(many: StateDirectory, what: str) -> None:
    async with many.open() as store:
        if await store.incidents.latest_of("s7") is None:
            await store._database.write(fill)
        with asked_of_sqlite() as statements:
            await QUESTIONS[what](store)
    steps = sum(steps_of(many.file, statement, parameters) for statement, parameters in statements)
    assert statements
    assert steps < ENOUGH


def test_a_walk_over_all_is_seen(many: StateDirectory) -> None:
    """Else the limit above would say nothing."""
    assert steps_of(many.file, "SELECT record FROM incidents WHERE json_extract(record, '$.detail') = 'x'", ()) > 5 * ENOUGH
