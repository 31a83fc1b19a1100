"""A runbook is an ordered list of steps, read from a YAML file. Platforms are runbooks, not code paths."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from rollbackd.model.condition import Condition


class RunbookKind(StrEnum):
    QUICK = "quick"  # the only kind that ever runs by itself
    FULL = "full"
    DATA = "data"
    EMERGENCY = "emergency"


class OnFailure(StrEnum):
    STOP = "stop"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True)
class CredentialRef:
    """An environment variable of a step that is filled from a named credential of the service; the value is never kept here."""

    credential: str


EnvironmentValue = str | CredentialRef


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAsk:
    """A command that is run to find something out; `jmespath` picks from JSON on its stdout, without it stdout is the answer."""

    argv: tuple[str, ...]
    env: Mapping[str, EnvironmentValue] = field(default_factory=dict)
    jmespath: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAsk:
    """One GET of a URL whose host stands in the config; no redirects."""

    url: str
    jmespath: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PromqlAsk:
    query: str  # with the macros $selector and $window
    label: str | None = None  # answer with the values of this label, instead of the sample's number


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question with the answer that is hoped for. Exactly one expectation is set; none: the answer itself is what is wanted.

    `equals` holds when there is at least one answer and every one equals it; `status` compares an HTTP status, `exit_code` a
    process's, `satisfies` the one number of a query.
    """

    ask: RunAsk | HttpAsk | PromqlAsk
    name: str = ""
    timeout: timedelta = timedelta(seconds=10)
    equals: str | None = None
    status: tuple[int, ...] = ()
    exit_code: int | None = None
    satisfies: Condition | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Run an argv list, never a shell string, from an empty environment plus an allow-list plus `env`."""

    argv: tuple[str, ...]
    env: Mapping[str, EnvironmentValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request to a host that stands in the config. Any 2xx is an answer that is hoped for, unless `status` says which."""

    method: str
    url: str
    json: str | None = None  # as it is sent
    headers: Mapping[str, EnvironmentValue] = field(default_factory=dict)
    token: CredentialRef | None = None  # is sent as `Authorization: Bearer …`
    status: tuple[int, ...] = ()

    def accepts(self, status: int) -> bool:
        return status in self.status if self.status else 200 <= status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Ask until the hoped-for answer comes."""

    until: Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """A checklist, each line reported by itself; every line must hold, once, before the step's timeout."""

    checks: tuple[Probe, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manual:
    """What only a person can do or see; it is done when somebody ticks it."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """What takes a step back, also one that was only half done, when its runbook fails behind it or in it."""

    action: Run | Request
    timeout: timedelta
    idempotent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`for_each` names a variable of the service: a plan has one step for each item of it, all with the same `batch`, of which
    `max_parallel` run at once, and no further one begins after `stop_after_failures`.
    """

    name: str
    action: Run | Request | Wait | Verify | Manual
    timeout: timedelta
    probe: Probe | None = None  # is it already done?
    idempotent: bool = False
    retries: int = 0
    interruptible: bool = False
    on_failure: OnFailure = OnFailure.STOP
    undo: Undo | None = None
    for_each: str | None = None
    max_parallel: int = 1
    stop_after_failures: int = 1
    batch: int | None = None

    @property
    def acts(self) -> bool:
        """Whether it changes the world; the others only ask, and may be done again at any time."""
        return isinstance(self.action, Run | Request)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    name: str
    kind: RunbookKind
    budget: timedelta
    steps: tuple[Step, ...]
    deploys: bool = True  # False: it restores what belongs to a release, such as a config, and leaves the release that runs
    destroys: tuple[str, ...] = ()  # of a data runbook: what is lost, a line each
    confirm: str | None = None  # and what a person has to type to have it run; None: the name of the service
