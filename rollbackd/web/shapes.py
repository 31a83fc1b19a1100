"""The JSON of the API, as types: what `views` writes and what the command line reads are the same words.

Names and nesting are fixed; a field may be added, none renamed. An instant is RFC 3339 text in UTC, a duration is seconds.
"""

from typing import (
    Literal,
    NotRequired,  # pydantic describes no other before Python 3.12
)

from typing_extensions import TypedDict


class CheckShape(TypedDict):
    name: str
    verdict: str
    reason: str
    query: str | None
    value: str | None
    limit: str | None
    sample_time: str | None
    at: str


class AttemptShape(TypedDict):
    id: str
    step: str
    step_index: int
    number: int
    argv: list[str]
    request: str
    status: str
    detail: str
    exit_code: int | None
    signal: str | None
    intended_at: str
    started_at: str | None
    ended_at: str | None


class AttemptOutput(AttemptShape):
    output: str


class MeasureShape(TypedDict):
    """One objective or trigger in one look."""

    name: str
    indicator: str
    verdict: str
    value: float | None
    limit: str
    reason: str | None


class LookShape(TypedDict):
    at: str
    objectives: list[MeasureShape]
    triggers: list[MeasureShape]


class EntryShape(TypedDict):
    seq: int
    incident: str
    at: str
    kind: str
    text: str
    data: dict[str, object]


class IncidentShape(TypedDict):
    """As it stands in a list."""

    id: str
    service: str
    trigger: str | None
    alertname: str | None
    phase: str
    decision: str | None
    reason: str | None
    blame: str | None
    outcome: str | None
    mode: str
    why: str
    detail: str
    opened_at: str
    starts_at: str | None
    delivered_at: str | None
    onset: str | None
    decided_at: str | None
    proposed_at: str | None
    escalated_at: str | None
    rollback_started_at: str | None
    rollback_ended_at: str | None
    closed_at: str | None
    suspect: str | None
    target: str | None
    runbook: str | None
    restores: str | None
    plan: str | None
    value: float | None
    abort_reason: str | None
    acknowledged_by: str | None
    requested_by: str | None
    request_reason: str | None
    reason_code: str | None


class IncidentInList(IncidentShape):
    attempts: list[AttemptShape]


class IncidentRecord(IncidentShape):
    """One incident with everything that is known of it. `deciding` is the name of the check that decided; None: every one passed.

    `nearest` is the one setting that would have made it a rollback, None where no single one would.
    """

    attempts: list[AttemptOutput]
    deciding: str | None
    nearest: str | None
    checks: list[CheckShape]
    looks: list[LookShape]
    timeline: list[EntryShape]


class ReleaseShape(TypedDict):
    service: str
    version: str
    artifact: str
    started_at: str
    live_at: str | None
    status: str
    kind: str
    mark: str
    mark_reason: str
    group: str | None
    irreversible: bool
    schema: str | None
    schema_compatible: bool
    source: str


class ChangeShape(TypedDict):
    service: str
    kind: str
    what: str
    at: str
    by: str


class AuditShape(TypedDict):
    """`result` is `done`, or the reason why it was refused."""

    at: str
    person: str
    remote: str
    action: str
    subject: str
    reason: str
    result: str


class VersionShape(TypedDict):
    version: str | None
    artifact: str | None


class StepShape(TypedDict):
    """`argv` is empty for a step without a process; `text` says in one line what any step does."""

    name: str
    kind: str
    argv: list[str]
    text: list[str]
    timeout: float


class PlanShape(TypedDict):
    service: str
    runbook: str
    current: VersionShape
    target: VersionShape
    steps: list[StepShape]
    digest: str
    kind: str
    restores: str | None
    destroys: list[str]
    confirm: str | None


class PauseShape(TypedDict):
    scope: str
    paused: bool
    until: str | None
    why: str


class ReadinessSummary(TypedDict):
    """Whether a rollback of the service would work; `problems` are the first lines of what stands in its way."""

    service: str
    verdict: str
    at: str
    problems: list[str]


class ReadinessCheckShape(TypedDict):
    name: str
    verdict: str
    detail: str


class ReadinessShape(ReadinessSummary):
    checks: list[ReadinessCheckShape]


class ServerShape(TypedDict):
    """A Prometheus server; `clock_offset` are the seconds that its clock is ahead, null when it did not say."""

    name: str
    problem: str
    clock_offset: float | None


class DiagnosisShape(TypedDict):
    """`problem` of the store is empty when it has just written something; `changed` are the files that the daemon has not read yet."""

    version: str
    started_at: str
    ready: bool
    why_not: str
    store: dict[str, str]
    config: dict[str, str | list[str]]
    prometheus: list[ServerShape]
    services: list[ReadinessShape]


class ServiceShape(TypedDict):
    name: str
    mode: str
    runbook: str | None
    triggers: list[str]
    objectives: list[str]
    pause: PauseShape
    incident: str | None
    live: str | None
    readiness: ReadinessSummary


class ProblemPlace(TypedDict):
    """What is wrong with a config, and where; lines and columns count from 1."""

    file: str
    line: int
    col: int
    message: str


class ProblemShape(TypedDict):
    """RFC 9457. `reason` is the reason code of a refusal, `problems` all that is wrong with a config."""

    type: str
    title: str
    status: int
    detail: str
    reason: NotRequired[str]
    problems: NotRequired[list[ProblemPlace]]


class AlertmanagerAlert(TypedDict):
    """As far as it is read."""

    status: str
    labels: dict[str, str]
    startsAt: str
    fingerprint: str
    endsAt: NotRequired[str]
    annotations: NotRequired[dict[str, str]]
    generatorURL: NotRequired[str]


class AlertmanagerPayload(TypedDict):
    """As far as it is read; one alert that cannot be used is recorded and skipped."""

    version: Literal["4"]
    alerts: list[AlertmanagerAlert]
    truncatedAlerts: NotRequired[int]


class ConfigShape(TypedDict):
    """`refused_at` and `problems` are of the last reload, if that was refused. `gone` are services that are not in the config, and have
    an open incident.
    """

    file: str
    in_use_since: str
    refused_at: str | None
    problems: list[str]
    gone: list[str]


class ReloadedShape(TypedDict):
    """Services by name, and what the config is warned of."""

    in_use_since: str
    added: list[str]
    removed: list[str]
    changed: list[str]
    warnings: list[str]


class DeliveryShape(TypedDict):
    """One channel. `oldest` is when the oldest message that it has not taken was put, `error` why its last try failed."""

    channel: str
    waiting: int
    oldest: str | None
    delivered_at: str | None
    error: str


class TestedShape(TypedDict):
    channel: str
    delivered: bool
    error: str


class TestedPage(TypedDict):
    items: list[TestedShape]


class StatusShape(TypedDict):
    version: str
    started_at: str
    ready: bool
    why_not: str
    clock_ahead_seconds: float
    services: int
    config: ConfigShape
    incidents_open: list[IncidentShape]
    pauses: list[PauseShape]
    readiness: list[ReadinessSummary]
    notify: list[DeliveryShape]


class RouteShape(TypedDict):
    service: str | None
    trigger: str | None
    reason: str | None
    why: str


class ResumedShape(TypedDict):
    """`resumed` is false when it was not paused."""

    scope: str
    resumed: bool


class IncidentPage(TypedDict):
    items: list[IncidentInList]
    next: str | None


class ServicePage(TypedDict):
    items: list[ServiceShape]
    next: str | None


class ReleasePage(TypedDict):
    items: list[ReleaseShape]
    next: str | None


class ChangePage(TypedDict):
    items: list[ChangeShape]
    next: str | None


class AuditPage(TypedDict):
    items: list[AuditShape]
    next: str | None
