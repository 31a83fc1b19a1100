"""What must hold when everything has come to rest, asked of the store and of the effects log. Each answer is a sentence about a fault."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from rollbackd.clock import parse_rfc3339
from rollbackd.model.attempt import AttemptStatus
from rollbackd.store.columns import to_microseconds
from tests.soak.life import Seen
from tests.soak.town import BAD, BLIND, BY_HAND, INNOCENT, PROPOSING, Effect

_AT_LARGE: Final = "phase != 'closed' OR outcome IS NULL OR told_at IS NULL OR closed_at IS NULL"
_CAS_WINDOW: Final = timedelta(seconds=5)
"""Between the last look at what runs and the effect of a slow tool: a person who deploys in it cannot be seen."""


@dataclass(frozen=True, slots=True)
class Rest:
    """What is still to be done."""

    alerts: int
    incidents: int

    def __bool__(self) -> bool:
        return bool(self.alerts or self.incidents)


class Books:
    """The store, read as it stands by somebody who only reads."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)

    def close(self) -> None:
        self._connection.close()

    def rest(self) -> Rest:
        ((alerts,),) = self._ask("SELECT count(*) FROM alerts WHERE handled_at IS NULL")
        ((incidents,),) = self._ask(f"SELECT count(*) FROM incidents WHERE {_AT_LARGE}")
        return Rest(alerts, incidents)

    def outcomes(self) -> Counter[str]:
        return Counter(outcome or phase for outcome, phase in self._ask("SELECT outcome, phase FROM incidents"))

    def attempts(self) -> Counter[str]:
        return Counter(status for (status,) in self._ask("SELECT status FROM attempts"))

    def stored(self) -> int:
        ((count,),) = self._ask("SELECT count(*) FROM alerts")
        return int(count)

    def faults(self, seen: Seen, effects: Sequence[Effect]) -> list[str]:
        return [
            *self._lost(seen),
            *self._stuck(),
            *self._damaged(),
            *self._twice(effects),
            *self._unwritten(effects),
            *self._unfounded(effects),
        ]

    def _lost(self, seen: Seen) -> Iterator[str]:
        stored = set(self._ask("SELECT fingerprint, starts_at, status FROM alerts"))
        for fingerprint, starts_at, status in seen.acknowledged:
            if (fingerprint, to_microseconds(parse_rfc3339(starts_at)), status) not in stored:
                yield f"I2: the {status} alert {fingerprint} of {starts_at} was acknowledged and is not stored"
        recorded = set(self._ask("SELECT service, version FROM releases"))
        for service, version in seen.released - recorded:
            yield f"I2: release {version} of {service} was accepted and is not recorded"

    def _stuck(self) -> Iterator[str]:
        for incident, phase, outcome in self._ask(f"SELECT id, phase, outcome FROM incidents WHERE {_AT_LARGE}"):
            yield f"I9: incident {incident} is still {phase} ({outcome})"
        for alert, at in self._ask("SELECT fingerprint, received_at FROM alerts WHERE handled_at IS NULL"):
            yield f"I9: alert {alert}, received at {at}, was never taken"
        for attempt, status in self._ask("SELECT id, status FROM attempts"):
            if not AttemptStatus(status).ended:
                yield f"I10: attempt {attempt} is {status} for ever"

    def _damaged(self) -> Iterator[str]:
        for (said,) in self._ask("PRAGMA integrity_check"):
            if said != "ok":
                yield f"the store is damaged: {said}"
        for row in self._ask("PRAGMA foreign_key_check"):
            yield f"the store is not whole: {row}"

    def _twice(self, effects: Sequence[Effect]) -> Iterator[str]:
        own = [effect for effect in effects if effect.attempt != BY_HAND]
        for attempt, times in Counter(effect.attempt for effect in own).items():
            if times > 1:
                yield f"I1: attempt {attempt} took effect {times} times"
        newest: dict[str, int] = {}
        for effect in own:
            step, _, number = effect.attempt.rpartition("-")
            if int(number) < newest.get(step, 0):
                yield f"I10: attempt {effect.attempt} took effect after its successor, number {newest[step]}"
            newest[step] = max(int(number), newest.get(step, 0))

    def _unwritten(self, effects: Sequence[Effect]) -> Iterator[str]:
        intended = {attempt for (attempt,) in self._ask("SELECT id FROM attempts")}
        for attempt in {effect.attempt for effect in effects} - intended - {BY_HAND}:
            yield f"I5: attempt {attempt} took effect and is not in the journal"

    def _unfounded(self, effects: Sequence[Effect]) -> Iterator[str]:
        """What rollbackd did to a service that was well, that it could not measure, or without being asked to."""
        incidents = {row[0]: json.loads(row[1]) for row in self._ask("SELECT id, record FROM incidents")}
        before: dict[str, Effect] = {}
        for effect in effects:
            incident = effect.attempt.rsplit("-", 2)[0]
            if effect.attempt != BY_HAND and effect.service != "said":
                yield from _complaints(effect, incident, incidents.get(incident, {}), before.get(effect.service))
            before[effect.service] = effect

    def _ask(self, question: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(question).fetchall()


def _complaints(effect: Effect, incident: str, record: dict[str, Any], last: Effect | None) -> Iterator[str]:
    said = f"{effect.attempt} brought {effect.service} to {effect.version}"
    if effect.version.startswith(BAD):
        yield f"I4: {said}"
    if effect.service in {INNOCENT, BLIND}:
        yield f"I3: {said}, which is {effect.service}"
    if effect.service == PROPOSING and record.get("requested_by") is None:
        yield f"{said}, and nobody asked for it"
    was_well = last is not None and not last.version.startswith(BAD) and not last.attempt.startswith(incident)
    if last is not None and was_well and (last.attempt != BY_HAND or effect.at - last.at > _CAS_WINDOW):
        yield f"I3: {said}, where {last.version} was well since {last.at} ({last.attempt})"
