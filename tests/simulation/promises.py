"""What must hold, asked of the store and of what was really done: never of what the daemon says of itself."""

import json
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from rollbackd.model.policy import Mode, ServicePolicy
from rollbackd.model.runbook import Run, Step
from tests.simulation.tool import NEVER, Sight

if TYPE_CHECKING:
    from tests.simulation.world import World

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR
_BREACH: Final = 0.01
_OBJECTIVE: Final = 0.005
_STABLE: Final = 180.0
_WINDOW: Final = 240.0
_SOON: Final = 1.0

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Start:
    """A rollback that began by itself."""

    at: float
    service: str
    incident: str


class Promises:
    def __init__(self, world: "World") -> None:
        self._world = world
        self.broken: list[str] = []
        self.acknowledged: set[tuple[int, str, str]] = set()
        self.paused_since: dict[str, tuple[float, float]] = {}
        """By scope: when whoever paused was told so, and until when by the daemon's time."""
        self._starts: list[Start] = []
        self._told: set[str] = set()
        self._recovered: set[tuple[str, str]] = set()

    def check(self) -> None:
        if self.broken:
            raise AssertionError("; ".join(self.broken))

    # Asked by the tool, right before it starts anything.

    def starting(self, mark: str, service: str, version: str | None) -> None:
        """A step of `service` is started under this mark, which is its attempt's id."""
        found = self._rows("SELECT record FROM attempts WHERE id = ?", mark)
        if not found:
            self._break("I5", f"{mark} was started and its intent is not in the journal")
            return
        attempt = found[0]
        incident = self._rows("SELECT record FROM incidents WHERE id = ?", attempt["incident_id"])[0]
        policy = self._world.settings.services[service]
        self._one_at_a_time(mark, service)
        self._not_paused(attempt, incident)
        self._observed_before_again(attempt, policy, incident)
        if version is not None:
            self._target_is_good(attempt, service, version)
        if incident["requested_by"] is None and not any(one.incident == incident["id"] for one in self._starts):
            self._starts.append(Start(self._world.now, service, incident["id"]))
            self._still_as_decided(incident)
            self._within_budget(policy)
            self._decided_on_evidence(incident, policy)

    def _one_at_a_time(self, mark: str, service: str) -> None:
        if any(one.mark == mark for one in self._world.tool.started):
            self._break("I1", f"{mark} is started a second time")
        if running := self._world.tool.running(service):
            self._break("I1", f"{mark} is started while {running[0].mark} still runs")

    def _not_paused(self, attempt: Row, incident: Row) -> None:
        intended = self._world.true_of(attempt["intended_at"])
        for scope in ("global", attempt["incident_id"] and incident["service"]):
            since, until = self.paused_since.get(scope, (NEVER, 0.0))
            if since < intended - _SOON and self._world.own_of(intended) < until and not incident["while_paused"]:
                self._break("I8", f"{attempt['id']} was started although {scope} is paused")

    def _observed_before_again(self, attempt: Row, policy: ServicePolicy, incident: Row) -> None:
        """I10: what may have happened is looked at, and only what may be repeated is."""
        step = _step(policy, attempt, incident)
        earlier = self._rows(
            "SELECT record FROM attempts WHERE incident_id = ? AND json_extract(record, '$.step_index') = ? AND id != ?",
            attempt["incident_id"], attempt["step_index"], attempt["id"],
        )  # fmt: skip
        if not earlier or step is None or not isinstance(step.action, Run):
            return
        if not step.idempotent:
            self._break("I10", f"{attempt['id']} repeats a step that is not idempotent")
        if any(one["status"] in {"intended", "started"} for one in earlier):
            self._break("I10", f"{attempt['id']} is started before it is known what became of the one before")

    def _target_is_good(self, attempt: Row, service: str, version: str) -> None:
        releases = self._rows("SELECT record FROM releases WHERE service = ?", service)
        mine = [one for one in releases if version in {one["version"], one["artifact"]}]
        if not mine:
            self._break("I4", f"{attempt['id']} deploys {version}, which is not recorded")
        marked_at = self._world.marked_bad.get((service, version), NEVER)
        if marked_at < self._world.true_of(attempt["intended_at"]) - self._world.slack:
            self._break("I4", f"{attempt['id']} deploys {version}, which is marked bad")
        live_since = next(one.at for one in reversed(self._world.production.effects) if one.service == service)
        seen = self._world.tool.sights.get(service, Sight.RIGHT) is Sight.RIGHT
        runs = self._world.production.live(service) == version and live_since < self._world.now - self._world.slack
        if runs and seen and attempt["number"] == 1:
            self._break("I4", f"{attempt['id']} deploys {version}, which is what runs already")

    def _still_as_decided(self, incident: Row) -> None:
        """Compare-and-set: nobody rolls back what somebody else has deployed meanwhile."""
        service = incident["service"]
        live = next(one for one in reversed(self._world.production.effects) if one.service == service)
        releases = self._rows("SELECT record FROM releases WHERE service = ?", service)
        suspect = {incident["suspect"], *(one["artifact"] for one in releases if one["version"] == incident["suspect"])}
        if live.version not in suspect and live.at < self._world.now - self._world.slack:
            self._break("I1", f"{incident['id']} rolls back {live.version}, and was decided about {incident['suspect']}")

    def _within_budget(self, policy: ServicePolicy) -> None:
        now = self._world.now
        of_service = sum(one.service == policy.name and one.at > now - DAY for one in self._starts)
        of_fleet = sum(one.at > now - HOUR for one in self._starts)
        if of_service > policy.budget.service_per_day or of_fleet > policy.budget.fleet_per_hour:
            self._break("I7", f"{of_service} rollbacks of {policy.name} in a day, {of_fleet} of all in an hour")

    def _decided_on_evidence(self, incident: Row, policy: ServicePolicy) -> None:
        if policy.mode is not Mode.AUTO:
            self._break("I3", f"{incident['id']} acts by itself in mode {policy.mode}")
        decisions = self._rows("SELECT record FROM decisions WHERE incident_id = ? ORDER BY arrival", incident["id"])
        last = decisions[-1] if decisions else None
        if last is None or last["action"] != "roll_back":
            self._break("I3", f"{incident['id']} acts without a decision to")
            return
        doubtful = [check["name"] for check in last["checks"] if check["verdict"] in {"failed", "unknown"}]
        if doubtful:
            self._break("I3", f"{incident['id']} acts although {doubtful} is not known or against it")
        at = self._world.true_of(last["at"])
        if not self._world.measured.was_well(start=at - _SOON, end=at + 10):
            self._break("I3", f"{incident['id']} acts on an answer that was none")
        if self._world.production.worst(incident["service"], start=at - _WINDOW, end=at + 10) <= _BREACH:
            self._break("I3", f"{incident['id']} acts on a service that was not breached")

    # Asked after each thing that happens.

    def after_step(self) -> None:
        incidents = self._rows("SELECT record FROM incidents")
        self._one_open_each(incidents)
        self._no_alert_lost()
        self._one_effect_each()
        for incident in incidents:
            if incident["outcome"] == "recovered" and (incident["id"], incident["closed_at"]) not in self._recovered:
                self._recovered.add((incident["id"], incident["closed_at"]))
                self._really_recovered(incident)
        for event in self._world.bugs():
            self._break("bug", event)
        if self._world.life is not None and self._world.life.failure is not None:
            self._break("I9", f"the daemon ended: {self._world.life.failure!r}")
        self.check()

    def _one_open_each(self, incidents: list[Row]) -> None:
        open_ones = Counter(one["service"] for one in incidents if one["phase"] != "closed")
        for service, count in open_ones.items():
            if count > 1:
                self._break("I1", f"{service} has {count} open incidents")
        for one in incidents:
            if one["phase"] == "closed" and one["outcome"] is None:
                self._break("I9", f"{one['id']} is closed without an outcome")

    def _no_alert_lost(self) -> None:
        with closing(self._connect()) as connection:
            stored = set(connection.execute("SELECT starts_at, fingerprint, status FROM alerts"))
        if lost := self.acknowledged - stored:
            self._break("I2", f"acknowledged and lost: {lost}")

    def _one_effect_each(self) -> None:
        for attempt, effects in Counter(one.by for one in self._world.production.effects).items():
            if effects > 1 and attempt != "ci":
                self._break("I1", f"{attempt} took effect {effects} times")

    def _really_recovered(self, incident: Row) -> None:
        """I15: by what really ran, and by a Prometheus that could say so."""
        closed = self._world.true_of(incident["closed_at"])
        start = closed - _STABLE
        if self._world.production.worst(incident["service"], start=start + 5, end=closed - 5) >= _OBJECTIVE:
            self._break("I15", f"{incident['id']} is said to have recovered, and had not")
        if not self._world.measured.was_well(start=closed - 5, end=closed):
            self._break("I15", f"{incident['id']} is said to have recovered while nothing could be measured")

    # Asked at the end, when all faults are over and a day has passed.

    def all_ended(self) -> None:
        """I9."""
        for incident in self._rows("SELECT record FROM incidents"):
            if incident["phase"] != "closed" or incident["told_at"] is None:
                self._break("I9", f"{incident['id']} has not ended: {incident['phase']}, {incident['reason']}, {incident['detail']}")
        for attempt in self._rows("SELECT record FROM attempts"):
            if attempt["status"] in {"intended", "started"}:
                self._break("I10", f"{attempt['id']} is left without an outcome")
        with closing(self._connect()) as connection:
            (waiting,) = connection.execute("SELECT count(*) FROM alerts WHERE handled_at IS NULL").fetchone()
        if waiting:
            self._break("I2", f"{waiting} alerts are never taken")
        self.check()

    def is_quiet(self) -> bool:
        """Nothing is left for the daemon to do."""
        with closing(self._connect()) as connection:
            left = (
                "SELECT count(*) FROM incidents WHERE phase != 'closed' OR told_at IS NULL",
                "SELECT count(*) FROM alerts WHERE handled_at IS NULL",
            )
            return not any(connection.execute(query).fetchone()[0] for query in left)

    def incidents(self) -> list[Row]:
        return self._rows("SELECT record FROM incidents ORDER BY opened_at, id")

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{self._world.database}?mode=ro", uri=True)

    def _rows(self, query: str, *values: object) -> list[Row]:
        with closing(self._connect()) as connection:
            return [json.loads(record) for (record,) in connection.execute(query, values)]

    def _break(self, promise: str, what: str) -> None:
        said = f"{promise}: {what}"
        if said not in self._told:
            self._told.add(said)
            self.broken.append(said)


def _step(policy: ServicePolicy, attempt: Row, incident: Row) -> Step | None:
    assert policy.runbook is not None
    place = attempt["step_index"] - incident["first_step"]
    return policy.runbook.steps[place] if 0 <= place < len(policy.runbook.steps) else None
