"""What holds for one service once templates, defaults and overrides are resolved: the settings that the decision and the action read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from rollbackd.model.condition import Condition
from rollbackd.model.matchers import Matcher
from rollbackd.model.runbook import EnvironmentValue, Probe, Runbook


class Mode(StrEnum):
    """How far a service lets rollbackd go."""

    OBSERVE = "observe"
    PROPOSE = "propose"
    AUTO = "auto"


class Inconclusive(StrEnum):
    PROPOSE = "propose"
    ESCALATE = "escalate"


class WhileRolling(StrEnum):
    WAIT = "wait"
    ACT = "act"
    ABORT = "abort"


class Reduce(StrEnum):
    MAX = "max"
    MIN = "min"
    SUM = "sum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Indicator:
    """A named PromQL expression that yields one number for a service.

    Either a ratio (`bad` of `total`, both counts over `$window`) or a value (`query`, with `count` saying how much traffic stands
    behind it). `samples` is the bare selector of which freshness and coverage are asked.
    """

    name: str
    samples: str
    window: timedelta
    bad: str | None = None
    total: str | None = None
    bad_samples: str | None = None
    query: str | None = None
    count: str | None = None
    reduce: Reduce | None = None

    @property
    def is_ratio(self) -> bool:
        return self.bad is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """An indicator with a breach condition, a clear condition, a `for` and a least traffic; answers the alert rules in `alerts`."""

    name: str
    indicator: Indicator
    breach: Condition
    clear: Condition
    hold_for: timedelta
    alerts: tuple[str, ...]
    min_requests: int = 0
    at_least: float | None = None
    severity: str = "critical"

    @property
    def is_relative(self) -> bool:
        return self.breach.relative


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    name: str
    indicator: Indicator
    target: Condition


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchPolicy:
    duration: timedelta = timedelta(minutes=10)
    interval: timedelta = timedelta(seconds=15)
    stable_for: timedelta = timedelta(minutes=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetPolicy:
    service_per_day: int = 2
    fleet_per_hour: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetBrakePolicy:
    services: int = 3
    within: timedelta = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeWindow:
    cron: str
    duration: timedelta
    tz: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSource:
    """Releases are recorded over the API and the command line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSource:
    """Releases are read from a command's JSON; the other fields are JMESPath expressions over one item."""

    argv: tuple[str, ...]
    items: str
    version: str
    artifact: str | None
    started_at: str
    status: str | None
    live_when: tuple[str, ...]
    failed_when: tuple[str, ...]
    live_at: str | None = None
    env: Mapping[str, EnvironmentValue] = field(default_factory=dict)
    timeout: timedelta = timedelta(seconds=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmergencyPolicy:
    runbook: Runbook
    auto: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Where a secret stands: a resolved file path. The value is read when it is needed and never kept in a policy."""

    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePolicy:
    name: str
    match: tuple[Matcher, ...]
    selector: tuple[Matcher, ...]
    triggers: tuple[Trigger, ...]
    objectives: tuple[Objective, ...]
    prometheus: str
    scrape_interval: timedelta
    max_sample_age: timedelta
    recheck_every: timedelta
    mode: Mode = Mode.OBSERVE
    blame: bool = True
    inconclusive: Inconclusive = Inconclusive.PROPOSE
    give_up_after: timedelta = timedelta(minutes=10)
    blame_window: timedelta = timedelta(hours=1)
    baseline: timedelta = timedelta(hours=1)
    max_quiet: timedelta = timedelta(minutes=10)
    cooldown: timedelta = timedelta(hours=1)
    while_rolling: WhileRolling = WhileRolling.WAIT
    budget: BudgetPolicy = BudgetPolicy()
    fleet_brake: FleetBrakePolicy = FleetBrakePolicy()
    settling: timedelta = timedelta(seconds=30)
    approval_expires: timedelta = timedelta(minutes=15)
    escalation_timeout: timedelta = timedelta(hours=1)
    freeze: tuple[FreezeWindow, ...] = ()
    watch: WatchPolicy = WatchPolicy()
    guard_for: timedelta = timedelta(hours=1)
    readiness_every: timedelta = timedelta(minutes=5)
    version_label: str | None = None
    spread: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    vars: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    releases: ApiSource | CommandSource = ApiSource()
    running_version: Probe | None = None
    credentials: Mapping[str, SecretRef] = field(default_factory=dict)
    runbook: Runbook | None = None
    on_failure: EmergencyPolicy | None = None

    def trigger(self, name: str) -> Trigger:
        return next(trigger for trigger in self.triggers if trigger.name == name)
