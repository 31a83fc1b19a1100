"""What a scenario file may say. Strict, as the config is: every mistake at once, as file:line:col, and an unknown key is one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PlainValidator

from rollbackd.model.change import ChangeKind
from rollbackd.model.decision import Action
from rollbackd.model.reason import Reason
from rollbackd.model.release import Mark, ReleaseKind, ReleaseStatus
from rollbackd.settings import yaml_file
from rollbackd.settings.document import Place
from rollbackd.settings.problems import InvalidConfigError, Problems
from rollbackd.settings.section import Section
from rollbackd.settings.shape import shape
from tests.e2e.scenarios import timeline
from tests.e2e.scenarios.timeline import Timeline, parse_offset


def _over_time(units: dict[str, float] | Any) -> PlainValidator:
    return PlainValidator(lambda value: timeline.parse(value, units))


def _pair(value: object) -> tuple[float, float]:
    first, dots, last = str(value).partition("..")
    if not dots or parse_offset(first) >= parse_offset(last):
        raise ValueError(f"{value!r}: write two times, such as -5m..-3m")
    return parse_offset(first), parse_offset(last)


Offset = Annotated[float, PlainValidator(parse_offset)]
Gap = Annotated[tuple[float, float], PlainValidator(_pair)]
Number = Annotated[Timeline, _over_time(timeline.NUMBER)]
Share = Annotated[Timeline, _over_time(timeline.SHARE)]
Rate = Annotated[Timeline, _over_time(timeline.RATE)]
Seconds = Annotated[Timeline, _over_time(timeline.TIME)]

MINUTE = 60.0


class Shape(Section):
    """What one set of labels does over time. Requests with their errors, and their p95 if it is told; `up`; and any gauges."""

    rate: Rate | None = None
    errors: Share = timeline.parse("0%", timeline.SHARE)
    p95: Seconds | None = None
    up: Number | None = None
    gauges: dict[str, Number] = Field(default_factory=dict)
    begins: Offset = -130 * MINUTE
    ends: Offset = 15 * MINUTE
    restarts: tuple[Offset, ...] = ()
    gaps: tuple[Gap, ...] = ()


class Source(Shape):
    """`yesterday` and `last_week` are around the same hour of those days."""

    labels: dict[str, str] = Field(default_factory=dict)
    yesterday: Shape | None = None
    last_week: Shape | None = None


class Released(Section):
    """`at` is when it started; `live` when it was live, without it at once."""

    version: str
    at: Offset
    live: Offset | None = None
    artifact: str | None = None
    status: ReleaseStatus = ReleaseStatus.LIVE
    kind: ReleaseKind = ReleaseKind.RELEASE
    mark: Mark = Mark.NONE
    irreversible: bool = False
    schema_: str | None = Field(default=None, alias="schema")
    schema_compatible: bool = False
    group: str | None = None


class Changed(Section):
    kind: ChangeKind
    what: str
    at: Offset


class Service(Section):
    """`settings` are those of the config."""

    settings: dict[str, Any] = Field(default_factory=dict)
    traffic: tuple[Source, ...] = ()
    releases: tuple[Released, ...] = ()
    changes: tuple[Changed, ...] = ()


class Expected(Section):
    """`check` is the one that stands in the way first, `because` its own reason; `within` how long after the alert it is decided."""

    decision: Action
    reason: Reason
    check: str | None = None
    because: Reason | None = None
    within: Offset | None = None
    suspect: str | None = None
    target: str | None = None


class Alert(Section):
    name: str = "HighErrorRate"
    service: str = "api"
    at: Offset = 0.0
    labels: dict[str, str] = Field(default_factory=dict)
    expect: Expected


class Scenario(Section):
    """`tells` says what happens, what should be done and why; `judgement`, where the specification is silent, on what that rests.

    Alerts are judged each alone, or `together`, in the order of time. `config` is what the config has beside its services.
    """

    name: Annotated[str, Field(pattern=r"[a-z0-9]+(-[a-z0-9]+)*")]
    tells: str
    judgement: str | None = None
    together: bool = False
    config: dict[str, Any] = Field(default_factory=dict)
    services: Annotated[dict[str, Service], Field(min_length=1)]
    alerts: Annotated[tuple[Alert, ...], Field(min_length=1)]


class ScenarioFile(Section):
    scenarios: Annotated[tuple[Scenario, ...], Field(min_length=1)]


def load(files: Iterable[Path]) -> tuple[Scenario, ...]:
    """Raises InvalidConfigError with all that is wrong with any of them."""
    problems = Problems()
    scenarios: dict[str, Scenario] = {}
    for file in files:
        document = yaml_file.read(file, problems)
        read = shape(ScenarioFile, Place(document), problems) if document is not None else None
        for position, scenario in enumerate(read.scenarios if read else ()):
            if document is not None and scenario.name in scenarios:
                problems.error(Place(document) / "scenarios" / position / "name", f"there are two scenarios {scenario.name!r}")
            scenarios[scenario.name] = scenario
    if problems.errors:
        raise InvalidConfigError(problems.errors)
    return tuple(scenarios.values())
