"""What one decision costs with everything on that could be asked. There is no IO in it: this is what a look costs beside its questions.

The service has two triggers and ten dependencies, its versions and places are compared, earlier days, targets and the hour before are
measured, and the register, the changes and the fleet are as full as they get. Each piece of evidence but that of the
earlier days is 250 steps long.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from benchmarks.result import Result, at_most
from rollbackd.decision.decide import decide
from rollbackd.decision.wanted import wanted
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import Action, Case, Context, Dependency, FleetFacts, RunningVersion, Tripped
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.policy import FreezeWindow, ServicePolicy, Trigger
from tests.unit.decision.builders import (
    HOUR,
    MINUTE,
    NOW,
    STEP,
    alert_facts,
    case_of,
    error_trigger,
    evidence_for,
    release,
    service_policy,
    slow_trigger,
)

ROUNDS: Final = 7
TIMES: Final = 60
STEPS: Final = 250
DEPENDENCIES: Final = 10
PLACES: Final = 10
RELEASES: Final = 200
CHANGES: Final = 50
FLEET: Final = 50

DAY: Final = timedelta(days=1)
ERRORS, SLOW = error_trigger(), slow_trigger()
NAMES: Final = tuple(f"backend-{number}" for number in range(DEPENDENCIES))
LONG_WINDOW: Final = STEPS * STEP - 2 * MINUTE  # with the triggers' `for` it is so many steps that are looked back


async def run() -> list[Result]:
    case = everything()
    decision = decide(case, NOW)
    if decision.action is not Action.ROLL_BACK:
        raise SystemExit(f"not what is meant to be measured: {decision.action}, {decision.reason}")
    held = replace(case, evidence={trigger.name: _evidence(trigger, "H9") for trigger in case.policy.triggers}, context=None)
    return [
        _measured("a decision, everything on", lambda: decide(case, NOW), limit_ms=5),
        _measured("what it has to ask first", lambda: wanted(replace(case, context=None), NOW)),
        _measured("a decision about a healthy service", lambda: decide(held, NOW)),
    ]


def everything() -> Case:
    """A release that is to blame: no check decides early for want of facts, and all of them are recorded anyway."""
    policy = service_policy(
        ERRORS,
        SLOW,
        blame_window=LONG_WINDOW,
        version_label="version",
        spread=("instance",),
        depends_on=NAMES,
        freeze=tuple(FreezeWindow(cron=f"0 {hour} 24 12 *", duration=8 * HOUR, tz="Europe/Berlin") for hour in (0, 8, 16)),
    )
    suspect = release("v200", ago=timedelta(seconds=150))
    earlier = [release(f"v{RELEASES - number}", ago=number * DAY) for number in range(1, RELEASES)]
    breached = {trigger.name: _evidence(trigger, "B9") for trigger in policy.triggers}
    return case_of(
        breached,
        policy=policy,
        releases=(suspect, *earlier),
        alert=alert_facts(),
        changes=tuple(_change(number) for number in range(CHANGES)),
        running=RunningVersion(answers=frozenset({suspect.artifact}), reason=None),
        fleet=FleetFacts(tripped=tuple(_tripped(number) for number in range(FLEET))),
        context=Context(
            before=_evidence(ERRORS, "H", now=suspect.started_at),
            versions_seen=frozenset({suspect.version, earlier[0].version}),
            versions={suspect.version: _evidence(ERRORS, "B9"), earlier[0].version: _evidence(ERRORS, "H9")},
            places={"instance": {f"10.0.0.{number}:8080": _evidence(ERRORS, "B9") for number in range(PLACES)}},
            earlier={ago: _as_long_as_it_held(_evidence(ERRORS, "H9", now=NOW - ago)) for ago in (DAY, 7 * DAY)},
            targets={one: _evidence(ERRORS, "H", now=suspect.started_at) for one in earlier[:3]},
            dependencies={name: _dependency(name) for name in NAMES},
        ),
    )


def _evidence(trigger: Trigger, story: str, **more: Any) -> IndicatorEvidence:
    whole = evidence_for(trigger, story, policy=service_policy(trigger, blame_window=LONG_WINDOW), **more)
    return replace(whole, readings=whole.readings[-STEPS:])


def _as_long_as_it_held(evidence: IndicatorEvidence) -> IndicatorEvidence:
    """Another day is asked for the trigger's `for` only."""
    return replace(evidence, readings=evidence.readings[-(ERRORS.hold_for // STEP + 1) :])


def _dependency(name: str) -> Dependency:
    """Burning as well since a little after us, and without a release of its own: so it is looked at to its end."""
    policy: ServicePolicy = service_policy(ERRORS, SLOW, name=name, blame_window=LONG_WINDOW)
    evidence = {trigger.name: _evidence(trigger, "B8") for trigger in policy.triggers}
    return Dependency(
        policy=policy, evidence=evidence, releases=tuple(release(f"d{days}", ago=days * DAY, service=name) for days in range(1, 50))
    )


def _change(number: int) -> Change:
    return Change(service="api", kind=ChangeKind.CONFIG, what=f"setting {number}", at=NOW - HOUR - number * MINUTE)


def _tripped(number: int) -> Tripped:
    return Tripped(service=f"other-{number}", at=NOW - number * STEP, has_recent_release=True)


def _measured(what: str, ask: Callable[[], object], *, limit_ms: float | None = None) -> Result:
    rounds = [_round(ask) for _ in range(ROUNDS)]
    medians = [statistics.median(seconds) * 1000 for seconds in rounds]
    return Result(
        what=what,
        unit="ms",
        ours=statistics.median(medians),
        goal=at_most(limit_ms) if limit_ms is not None else None,
        detail={"rounds_ms": [round(one, 3) for one in medians], "slowest_ms": round(max(map(max, rounds)) * 1000, 3)},
    )


def _round(ask: Callable[[], object]) -> Sequence[float]:
    seconds = []
    for _ in range(TIMES):
        begin = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - begin)
    return seconds
