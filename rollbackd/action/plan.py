"""Makes the exact commands of one rollback out of a runbook and two releases. Pure: the same input gives the same digest."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import orjson

from rollbackd.action import placeholders
from rollbackd.errors import RefusedError
from rollbackd.model.plan import Plan
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, Release, check_version
from rollbackd.model.runbook import Runbook, RunbookKind, Step


def make(policy: ServicePolicy, runbook: Runbook, *, current: Release | None, target: Release | None) -> Plan:
    """Every placeholder but `${incident.id}` filled; `current` is None when what runs is not a recorded release, `target` when the
    runbook goes back to none.

    Raises:
        MisconfiguredError: the runbook has an unknown placeholder.
        RefusedError: `bad_target` for a target that is bad or already running (I4) or a value that may not stand in a command (I11),
            `running_version_unknown` when the runbook needs `current` and it is None.
    """
    if target is not None:
        _check_target(policy, runbook, current, target)
    elif runbook.kind is RunbookKind.QUICK:
        raise RefusedError(f"{runbook.name} is a rollback, and has no target", reason=Reason.NO_SAFE_TARGET)
    values = placeholders.values_of(policy, current=current, target=target)
    brought = target if runbook.deploys else None
    plan = Plan(
        service=policy.name,
        runbook=runbook.name,
        current_version=current.version if current else None,
        current_artifact=current.artifact if current else None,
        target_version=brought.version if brought else None,
        target_artifact=brought.artifact if brought else None,
        restores=target.version if target and not brought else None,
        kind=runbook.kind,
        destroys=tuple(placeholders.fill(line, values) for line in runbook.destroys),
        confirm=placeholders.fill(runbook.confirm or policy.name, values) if runbook.kind is RunbookKind.DATA else None,
        steps=tuple(_filled(step, item, values) for step, item in steps_of(policy, runbook)),
        budget=runbook.budget,
        digest="",
    )
    return replace(plan, digest=sha256(_canonical(plan)).hexdigest())


def steps_of(policy: ServicePolicy, runbook: Runbook) -> Iterator[tuple[Step, str | None]]:
    """Each step as often as it is to be done for this service, with the item that it is for; nothing is filled in yet."""
    for batch, step in enumerate(runbook.steps):
        if step.for_each is None:
            yield step, None
            continue
        items = policy.vars.get(step.for_each, ())
        for item in (items,) if isinstance(items, str) else items:
            yield replace(step, for_each=None, batch=batch), item


def asks_for(runbook: Runbook, prefix: str) -> bool:
    """Whether any placeholder of it begins with `prefix`, such as `target.`."""
    return f"${{{prefix}".encode() in orjson.dumps(runbook, default=_seconds)


def _filled(step: Step, item: str | None, values: Mapping[str, str]) -> Step:
    if item is None:
        return placeholders.fill_step(step, values)
    return placeholders.fill_step(replace(step, name=f"{step.name} [{item}]"), {**values, placeholders.ITEM: item})


def _check_target(policy: ServicePolicy, runbook: Runbook, current: Release | None, target: Release) -> None:
    """The last look before a command line exists; only a quick runbook is a rollback by itself, others may serve what runs."""
    if target.service != policy.name:
        raise RefusedError(f"release {target.version} belongs to {target.service}, not to {policy.name}", reason=Reason.BAD_TARGET)
    try:
        check_version(target.version)
        check_version(target.artifact, what="artifact")
    except ValueError as e:
        raise RefusedError(str(e), reason=Reason.BAD_TARGET) from e
    if runbook.kind is not RunbookKind.QUICK:
        return
    if target.mark is Mark.BAD:
        raise RefusedError(f"release {target.version} is marked bad: {target.mark_reason or 'choose another'}", reason=Reason.BAD_TARGET)
    if current is not None and target.artifact == current.artifact:
        raise RefusedError(f"release {target.version} is what is running already", reason=Reason.BAD_TARGET)


def _canonical(plan: Plan) -> bytes:
    """JSON with sorted keys. Credentials are in it by name, never by value."""
    return orjson.dumps(plan, option=orjson.OPT_SORT_KEYS, default=_seconds)


def _seconds(value: object) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} has no place in a plan")
