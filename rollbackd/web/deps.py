"""What the web room is handed by `app`: one frozen record, so that a test builds the same server around its own objects."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from aiohttp import web

from rollbackd.clock import Clock
from rollbackd.flow.by_hand import Wish
from rollbackd.flow.courier import Delivery
from rollbackd.flow.doctor import Diagnosis
from rollbackd.flow.in_use import InUse
from rollbackd.flow.reload import Changes, Refusal
from rollbackd.flow.reporting import Reporting
from rollbackd.intake.webhook import Webhook
from rollbackd.model.audit import Caller
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import PauseFacts
from rollbackd.model.incident import Incident
from rollbackd.model.plan import Plan
from rollbackd.model.readiness import Readiness
from rollbackd.model.release import Mark, Release
from rollbackd.releases.register import ReleaseReport
from rollbackd.store.store import Store
from rollbackd.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonStatus:
    """`why_not` says in one line why it is not ready; empty when it is."""

    started_at: datetime
    ready: bool
    why_not: str
    version: str
    clock_ahead: timedelta = timedelta(0)  # of the wall clock, where it was set


class Operator(Protocol):
    """What a person, or CI, may ask `flow` for. `by` is who asked, for the audit.

    Raises NotFoundError, RefusedError, MisconfiguredError, TemporaryError; ValueError for a question that makes no sense.
    """

    async def approve(self, incident_id: str, *, plan: str | None, by: Caller) -> Incident: ...
    async def reject(self, incident_id: str, *, reason: str, by: Caller) -> Incident: ...
    async def abort(self, incident_id: str, *, reason: str, by: Caller) -> Incident: ...
    async def acknowledge(self, incident_id: str, *, reason: str, by: Caller) -> Incident: ...
    async def tick(self, incident_id: str, step: str, *, by: Caller) -> Incident: ...
    async def pause(self, service: str | None, *, duration: timedelta, reason: str, by: Caller) -> PauseFacts: ...
    async def resume(self, service: str | None, *, by: Caller) -> bool: ...
    async def record_release(self, report: ReleaseReport, *, by: Caller) -> tuple[Release, bool]: ...
    async def record_change(self, service: str, *, kind: ChangeKind, what: str, at: datetime | None, by: Caller) -> tuple[Change, bool]: ...
    async def mark(self, service: str, version: str, mark: Mark, *, reason: str, by: Caller) -> Release: ...


class ByHand(Protocol):
    """What a person may run. Raises as `Operator`."""

    async def plan(self, service: str, *, to: str | None = None, runbook: str | None = None) -> Plan: ...
    async def rollback(self, service: str, wish: Wish, *, by: Caller) -> Incident: ...
    async def run(self, service: str, runbook: str, wish: Wish, *, by: Caller) -> Incident: ...


class Courier(Protocol):
    """Who brings messages to the channels."""

    async def deliveries(self) -> tuple[Delivery, ...]: ...
    async def test(self, name: str | None) -> dict[str, str]: ...  # why it was not taken, by channel; raises NotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    in_use: InUse
    store: Store
    operator: Operator
    by_hand: ByHand
    courier: Courier
    reporting: Reporting
    webhook: Webhook
    metrics: Metrics
    clock: Clock
    status: Callable[[], DaemonStatus]
    readiness: Callable[[str], Readiness]  # what was found last of a service
    diagnose: Callable[[], Awaitable[Diagnosis]]
    reload: Callable[[Caller], Awaitable[Changes]]  # by whom; raises InvalidConfigError and what else keeps it from being read
    refusal: Callable[[], Refusal | None]  # of the last reload


DEPS: web.AppKey[Deps] = web.AppKey("deps", Deps)
