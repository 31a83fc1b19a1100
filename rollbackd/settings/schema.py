"""The config file as it is written: names, types and defaults of every key. What the keys mean together is `resolve.py`'s."""

from datetime import timedelta
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Discriminator, Field, Strict, Tag, ValidationInfo, model_validator

from rollbackd.model.policy import Inconclusive, Mode, Reduce, WhileRolling
from rollbackd.settings import presets
from rollbackd.settings.editors import EditorSchema
from rollbackd.settings.runbook_schema import EnvValue, Question
from rollbackd.settings.scalars import (
    Argv,
    Count,
    Cron,
    Duration,
    EnvName,
    Expression,
    FileName,
    Flag,
    HeaderValue,
    Label,
    Limit,
    Line,
    Listen,
    Matchers,
    Name,
    PositiveDuration,
    Query,
    StoreUrl,
    Switch,
    TimeZone,
    Url,
)
from rollbackd.settings.section import Choice, Section, Variable

DEFAULT_STORE: Final = "sqlite:////var/lib/rollbackd/rollbackd.db"


class Tls(Section):
    cert_file: FileName
    key_file: FileName
    client_ca_file: FileName | None = None


class Server(Section):
    listen: Listen = "127.0.0.1:9096"
    external_url: Url | None = None
    tls: Tls | None = None


class Ingest(Section):
    token_file: FileName


class Person(Section):
    name: Line
    role: Literal["viewer", "operator", "ci"]
    token_file: FileName


class Auth(Section):
    ingest: Ingest | None = None
    people: tuple[Person, ...] = ()


class PrometheusServer(Section):
    url: Url
    timeout: PositiveDuration = timedelta(seconds=5)
    scrape_interval: PositiveDuration = timedelta(seconds=15)
    headers: dict[Line, HeaderValue] = Field(default_factory=dict)
    token_file: FileName | None = None
    ca_file: FileName | None = None


def _one_or_named(value: object) -> str:
    named = isinstance(value, dict) and value and not value.keys() & PrometheusServer.model_fields.keys()
    return "(servers)" if named and all(isinstance(server, dict) for server in value.values()) else "(server)"  # type: ignore[attr-defined]


class Store(Section):
    url: StoreUrl = DEFAULT_STORE


class IndicatorOverride(Section):
    bad: Query | None = None
    total: Query | None = None
    query: Query | None = None
    count: Query | None = None
    samples: Query | None = None
    bad_samples: Query | None = None
    window: PositiveDuration | None = None
    reduce: Reduce | None = None


def _nothing_required(schema: dict[str, Any]) -> None:
    """With a preset all of it may be left out."""
    schema.pop("required", None)


class Indicator(IndicatorOverride):
    """A ratio (bad of total) or a value (query, with count); or a preset, of which any part may be written anew."""

    model_config = ConfigDict(json_schema_extra=_nothing_required)

    preset: presets.Preset | None = None
    of: presets.Measured | None = None
    quantile: Annotated[float, Strict(), Field(gt=0, lt=1)] = 0.95
    samples: Query = Field(examples=["http_requests_total{$selector}"], description="the bare selector that freshness is asked of")
    window: PositiveDuration = Field(examples=["1m"])

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, value: Any, info: ValidationInfo) -> Any:
        """What the preset says, under what is written. Where it says nothing its own error is enough."""
        if not isinstance(value, dict) or "preset" not in value:
            return value
        quantile = value.get("quantile", 0.95)
        known = presets.queries(str(value["preset"]), str(value.get("of")), quantile if isinstance(quantile, float) else 0.95)
        whole = {"window": "1m", **(known or {"samples": "x"}), **value}
        if info.context is not None:
            info.context[id(value)] = cls
        return whole

    @model_validator(mode="after")
    def _whole_preset(self) -> Self:
        if (self.preset is None) is not (self.of is None):
            raise ValueError("'preset' and 'of' (errors or latency) go together")
        return self


class TriggerOverride(Section):
    indicator: Line | None = None
    breach: Limit | None = None
    clear: Limit | None = None
    hold_for: Duration | None = Field(default=None, alias="for")
    alerts: Annotated[tuple[Line, ...], Field(min_length=1)] | None = None
    min_requests: Count = 0
    at_least: Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)] | None = None
    severity: Literal["critical", "warning", "info"] = "critical"


class Trigger(TriggerOverride):
    indicator: Line
    breach: Limit
    clear: Limit
    hold_for: Duration = Field(alias="for", examples=["2m"])


class ObjectiveOverride(Section):
    indicator: Line | None = None
    target: Limit | None = None


class Objective(ObjectiveOverride):
    indicator: Line
    target: Limit


class Budget(Section):
    service_per_day: Count = 2
    fleet_per_hour: Count = 3


class FleetBrake(Section):
    services: Annotated[int, Strict(), Field(ge=1)] = 3
    within: PositiveDuration = timedelta(minutes=5)


class Approval(Section):
    expires: PositiveDuration = timedelta(minutes=15)


class Freeze(Section):
    cron: Cron
    duration: PositiveDuration
    tz: TimeZone = "UTC"


class Watch(Section):
    duration: PositiveDuration = timedelta(minutes=10)
    interval: PositiveDuration = timedelta(seconds=15)
    stable_for: PositiveDuration = timedelta(minutes=3)


class CredentialFile(Section):
    file: FileName


class OnFailure(Section):
    runbook: Name
    auto: Flag = False


class ApiReleases(Section):
    source: Literal["api"]


class CommandReleases(Section):
    """A command that lists releases as JSON. Everything but the command is JMESPath: `items` over its answer, the rest over one item."""

    source: Literal["command"]
    run: Argv
    items: Expression = Field(examples=["[]"])
    version: Expression = Field(examples=["Version"])
    started_at: Expression = Field(examples=["CreatedAt"])
    artifact: Expression | None = None
    live_at: Expression | None = None
    status: Expression | None = None
    live_when: tuple[str, ...] = ()
    failed_when: tuple[str, ...] = ()
    env: dict[EnvName, EnvValue] = Field(default_factory=dict)
    timeout: PositiveDuration = timedelta(seconds=10)


class ServiceSettings(Section):
    """Every setting of a service; `defaults` and templates take the same."""

    match: Matchers | None = None
    selector: Matchers | None = None
    prometheus: Name | None = None
    vars: dict[Name, Variable] = Field(default_factory=dict)
    triggers: Choice[TriggerOverride] | None = None
    objectives: Choice[ObjectiveOverride] | None = None
    indicators: Choice[IndicatorOverride] | None = None
    mode: Mode = Mode.OBSERVE
    blame: Switch = True
    inconclusive: Inconclusive = Inconclusive.PROPOSE
    recheck_every: PositiveDuration | None = None
    give_up_after: PositiveDuration = timedelta(minutes=10)
    blame_window: PositiveDuration = timedelta(hours=1)
    baseline: PositiveDuration = timedelta(hours=1)
    max_quiet: Duration = timedelta(minutes=10)
    max_sample_age: PositiveDuration | None = None
    cooldown: Duration = timedelta(hours=1)
    while_rolling: WhileRolling = WhileRolling.WAIT
    budget: Budget = Field(default_factory=Budget)
    fleet_brake: FleetBrake = Field(default_factory=FleetBrake)
    settling: Duration = timedelta(seconds=30)
    approval: Approval = Field(default_factory=Approval)
    escalation_timeout: PositiveDuration = timedelta(hours=1)
    freeze: tuple[Freeze, ...] = ()
    watch: Watch = Field(default_factory=Watch)
    guard_for: Duration = timedelta(hours=1)
    readiness_every: PositiveDuration = timedelta(minutes=5)
    version_label: Label | None = None
    spread: tuple[Label, ...] = ()
    depends_on: tuple[Name, ...] = ()
    releases: Annotated[ApiReleases | CommandReleases, Field(discriminator="source")] = ApiReleases(source="api")
    running_version: Question | None = None
    credentials: dict[EnvName, CredentialFile] = Field(default_factory=dict)
    runbook: Name | None = None
    on_failure: OnFailure | None = None
    retention: PositiveDuration = timedelta(days=90)
    shutdown_grace: PositiveDuration = timedelta(seconds=30)


class Service(ServiceSettings):
    use: Name | None = None


class Unit(Section):
    services: Annotated[tuple[Name, ...], Field(min_length=1)]
    order: tuple[Name, ...] = ()


class Contact(Section):
    role: Line
    name: Line
    channel: Line | None = None


class Webhook(Section):
    """Any HTTP receiver. With `secret_file` it can tell that the request is from here."""

    url: Url
    secret_file: FileName | None = None


class Notify(Section):
    """One channel: `url_file` holds an Apprise URL (a chat, e-mail, a pager), `webhook` is a receiver of one's own."""

    name: Line
    url_file: FileName | None = None
    webhook: Webhook | None = None
    min_severity: Literal["critical", "warning", "info"] = "info"
    language: Literal["en", "zh"] | None = Field(default=None, description="that of the report, unless it is named")


class Alertmanager(Section):
    """Where rollbackd says that it is at work, so that the pager can be quiet for as long."""

    url: Url
    token_file: FileName | None = None


class Sentry(Section):
    dsn_file: FileName
    environment: Line | None = None
    monitor: Name | None = Field(default=None, description="a monitor of Sentry Crons that is told each minute that rollbackd is well")


class Heartbeat(Section):
    """An address that is asked for as long as rollbackd is well: whoever misses it tells people."""

    url_file: FileName
    every: PositiveDuration = timedelta(minutes=1)


class Report(Section):
    language: Literal["en", "zh"] = "en"


class IncludedFile(Section):
    services: dict[Name, Service]


class ConfigFile(Section):
    prometheus: (
        Annotated[
            Annotated[PrometheusServer, Tag("(server)")] | Annotated[dict[Name, PrometheusServer], Tag("(servers)")],
            Discriminator(_one_or_named),
        ]
        | None
    ) = None
    server: Server = Field(default_factory=Server)
    auth: Auth = Field(default_factory=Auth)
    store: Store = Field(default_factory=Store)
    include: tuple[FileName, ...] = ()
    indicators: dict[Line, Indicator] = Field(default_factory=dict)
    triggers: dict[Line, Trigger] = Field(default_factory=dict)
    objectives: dict[Line, Objective] = Field(default_factory=dict)
    defaults: ServiceSettings = Field(default_factory=ServiceSettings)
    templates: dict[Name, ServiceSettings] = Field(default_factory=dict)
    services: dict[Name, Service] = Field(default_factory=dict)
    units: dict[Name, Unit] = Field(default_factory=dict)
    contacts: tuple[Contact, ...] = ()
    notify: tuple[Notify, ...] = ()
    alertmanager: Alertmanager | None = None
    sentry: Sentry | None = None
    heartbeat: Heartbeat | None = None
    report: Report = Field(default_factory=Report)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the config file, for editors."""
    return ConfigFile.model_json_schema(schema_generator=EditorSchema)
