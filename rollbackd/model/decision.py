"""What `decide` is given and what it says: a case in, a decision with the full record of every check out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from rollbackd.model.change import Change
from rollbackd.model.measurement import IndicatorEvidence
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release


class Action(StrEnum):
    ROLL_BACK = "roll_back"
    HOLD = "hold"
    ESCALATE = "escalate"


class Blame(StrEnum):
    TO_BLAME = "to_blame"
    EXONERATED = "exonerated"
    INCONCLUSIVE = "inconclusive"


class CheckVerdict(StrEnum):
    """What one line of the record says. Only `failed` and `unknown` stand in the way of acting."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not_applicable"
    NOT_EVALUATED = "not_evaluated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the record. `value` and `limit` are for a person and carry their unit; `sample_time` is the newest raw sample's."""

    name: str
    verdict: CheckVerdict
    reason: Reason
    at: datetime
    query: str | None = None
    value: str | None = None
    limit: str | None = None
    sample_time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFacts:
    """The alert that is being judged. `firing_now` is asked of Prometheus only when it may be stale; None: not asked, or unknown."""

    name: str
    trigger: str
    starts_at: datetime
    delivered_at: datetime
    firing_now: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningVersion:
    """What the service's `running_version` probe answered: a set of versions or artifacts.

    `reason` is NOT_APPLICABLE without a probe, RUNNING_VERSION_UNKNOWN when it did not answer; None when `answers` is an answer.
    """

    answers: frozenset[str] = frozenset()
    reason: Reason | None = Reason.NOT_APPLICABLE
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseFacts:
    """`scope` is "global" or the service's name. An unreadable pause state means paused (I8), with that in `why`."""

    paused: bool = False
    scope: str = ""
    until: datetime | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What rollbackd itself did before, as far as guards ask for it."""

    last_rollback_completed_at: datetime | None = None  # of this service
    last_rollback_acknowledged: bool = False
    rollbacks_of_service_last_day: int = 0
    rollbacks_of_fleet_last_hour: int = 0
    step_running: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomFacts:
    """Whether the journal of one full run has room on the store's disk: `needed` bytes that are held for nothing else.

    `is_held` is None when that cannot be seen; `problem` says why the store takes nothing now, empty when it does.
    """

    needed: int = 0
    is_held: bool | None = True
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """A service that the one in question depends on, measured at the same moment."""

    policy: ServicePolicy
    evidence: Mapping[str, IndicatorEvidence]  # by trigger name
    releases: tuple[Release, ...]  # newest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What is asked only about a breach that is confirmed, to find out whose fault it is: of the indicator that carries the decision.

    `versions_seen` are the values of the version label, None when they could not be read.
    """

    before: IndicatorEvidence | None = None  # of the hour up to the start of the suspect
    versions_seen: frozenset[str] | None = None
    versions: Mapping[str, IndicatorEvidence] = field(default_factory=dict)  # by version: the suspect's and the one before it
    places: Mapping[str, Mapping[str, IndicatorEvidence]] = field(default_factory=dict)  # by spread label, by its value
    unread: frozenset[str] = frozenset()  # spread labels whose values could not be read
    earlier: Mapping[timedelta, IndicatorEvidence] = field(default_factory=dict)  # by how long ago
    targets: Mapping[Release, IndicatorEvidence] = field(default_factory=dict)  # of the last hour that each of them served
    dependencies: Mapping[str, Dependency] = field(default_factory=dict)  # by service


@dataclass(frozen=True, slots=True, kw_only=True)
class Trip:
    """An alert of `service` that fires since `at`, with the newest release that the service had by then."""

    service: str
    at: datetime
    release: Release | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tripped:
    """A service whose alert fires since `at`. `depends_on_released`: a service that it depends on, tripped with a recent release."""

    service: str
    at: datetime
    has_recent_release: bool = False
    depends_on_released: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFacts:
    """What else broke. A service that tripped several times may stand here more than once."""

    tripped: tuple[Tripped, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that `decide` may know.

    `serving_since` is when this daemon started, for settling, and `room` what its store has left; both are None in a backtest.
    """

    policy: ServicePolicy
    alert: AlertFacts
    evidence: Mapping[str, IndicatorEvidence]  # by trigger name; every trigger of the service
    releases: tuple[Release, ...]  # newest first; all of this service
    changes: tuple[Change, ...] = ()  # newest first; of this service, as far back as the suspect may lie
    releases_problem: str = ""  # why the register may not be up to date; empty: it is
    running: RunningVersion = RunningVersion()
    pause: PauseFacts = PauseFacts()
    history: History = History()
    fleet: FleetFacts = FleetFacts()  # the other services
    serving_since: datetime | None = None
    room: RoomFacts | None = None
    context: Context | None = None  # None: not asked
    not_evaluated: frozenset[Reason] = frozenset()  # guards that a backtest cannot judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`trigger`, `value` and `limit` are those that the verdict rests on; `checks` stand in the order of the decision.

    `nearest` is the one setting that would have made it a rollback, in the words of the config; empty: no single one would.
    """

    action: Action
    reason: Reason
    at: datetime
    blame: Blame | None = None
    trigger: str | None = None
    value: float | None = None
    limit: float | None = None
    onset: datetime | None = None
    suspect: Release | None = None
    target: Release | None = None
    checks: tuple[Check, ...] = field(default=())
    nearest: str = ""
