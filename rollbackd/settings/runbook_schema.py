"""A runbook file as it is written, and the questions that runbooks and services ask."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Strict, Tag

from rollbackd.model.runbook import OnFailure, RunbookKind
from rollbackd.settings.scalars import (
    Argv,
    EnvName,
    Expression,
    Flag,
    HeaderName,
    JsonBody,
    Label,
    Limit,
    Line,
    Name,
    PositiveDuration,
    Query,
    Statuses,
    Url,
)
from rollbackd.settings.section import Section


class Credential(Section):
    """A variable that is filled from a named credential of the service."""

    credential: EnvName


def _text_or_credential(value: object) -> str:
    return "(credential)" if isinstance(value, dict) else "(text)"


EnvValue = Annotated[Annotated[str, Tag("(text)")] | Annotated[Credential, Tag("(credential)")], Discriminator(_text_or_credential)]


class Question(Section):
    """One of run, http and promql, with the answer that is hoped for: one of equals, status, exit and is."""

    name: Line = ""
    run: Argv | None = None
    http: Url | None = None
    promql: Query | None = None
    env: dict[EnvName, EnvValue] = Field(default_factory=dict)
    jmespath: Expression | None = None
    label: Label | None = None
    timeout: PositiveDuration = timedelta(seconds=10)
    equals: str | None = None
    status: Statuses | None = None
    exit: Annotated[int, Strict(), Field(ge=0, le=255)] | None = None
    satisfies: Limit | None = Field(default=None, alias="is")


class Request(Section):
    """One HTTP request: where to, with what, and which answers are hoped for (any 2xx, unless said)."""

    url: Url
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "POST"
    body: JsonBody | None = Field(default=None, alias="json")
    headers: dict[HeaderName, EnvValue] = Field(default_factory=dict)
    token: Credential | None = Field(default=None, description="a credential that is sent as Authorization: Bearer …")
    status: Statuses | None = None


class Undo(Section):
    """One of run and http; `timeout` is the step's own, unless said."""

    run: Argv | None = None
    http: Request | None = None
    env: dict[EnvName, EnvValue] = Field(default_factory=dict)
    timeout: PositiveDuration | None = None
    idempotent: Flag = False


class Step(Section):
    """One of run, http, wait, verify and manual."""

    name: Line = Field(examples=["deploy"])
    timeout: PositiveDuration = Field(examples=["5m"], description="every step needs one, such as 5m")
    run: Argv | None = None
    http: Request | None = None
    wait: Question | None = None
    verify: Annotated[tuple[Question, ...], Field(min_length=1)] | None = None
    env: dict[EnvName, EnvValue] = Field(default_factory=dict)
    probe: Question | None = None
    idempotent: Flag = False
    retries: Annotated[int, Strict(), Field(ge=0, le=10)] = 0
    interruptible: Flag = False
    on_failure: OnFailure = OnFailure.STOP
    manual: Line | None = None
    undo: Undo | None = None
    for_each: str | None = Field(default=None, examples=["${vars.hosts}"], description="a variable of the service that is a list")
    max_parallel: Annotated[int, Strict(), Field(ge=1, le=50)] = 1
    stop_after_failures: Annotated[int, Strict(), Field(ge=1)] = 1


class RunbookFile(Section):
    name: Name
    kind: RunbookKind = Field(examples=["quick"], description="quick, full, data or emergency")
    budget: PositiveDuration = Field(examples=["10m"], description="how long the whole runbook may take, such as 10m")
    deploys: Flag = Field(default=True, description="false: it restores what belongs to a release, and leaves the one that runs")
    destroys: Annotated[tuple[Line, ...], Field(min_length=1)] | None = Field(default=None, description="what a data runbook destroys")
    confirm: Line | None = Field(default=None, description="what a person types to have it run; the name of the service without")
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
