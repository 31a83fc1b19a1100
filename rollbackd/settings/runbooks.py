"""The runbooks beside a config: every `runbooks/*.yaml` is read and checked, whether a service names it or not."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import orjson

from rollbackd.model.runbook import CredentialRef, Manual, Request, Run, Runbook, RunbookKind, Step, Undo, Verify, Wait
from rollbackd.settings import placeholders, questions, yaml_file
from rollbackd.settings.document import Place
from rollbackd.settings.problems import Problems
from rollbackd.settings.runbook_schema import Credential, EnvValue, Question, RunbookFile
from rollbackd.settings.runbook_schema import Request as RequestSection
from rollbackd.settings.runbook_schema import Step as StepSection
from rollbackd.settings.runbook_schema import Undo as UndoSection
from rollbackd.settings.shape import shape

_ACTIONS: Final = ("run", "http", "wait", "verify", "manual")
_ITEMS: Final = re.compile(r"\$\{vars\.([^${}]+)\}")
_HEADERS_OF_OURS: Final = frozenset({"idempotency-key", "host", "content-length", "transfer-encoding", "content-type"})


@dataclass(frozen=True, slots=True)
class ReadRunbook:
    """A runbook with what it asks of the service that uses it, each where it is asked first."""

    runbook: Runbook
    place: Place
    variables: Mapping[str, Place]
    credentials: Mapping[str, Place]
    lists: Mapping[str, Place]


@dataclass(frozen=True, slots=True)
class Library:
    """`broken` are the names of those that have errors: naming one of these is not an error of its own."""

    runbooks: Mapping[str, ReadRunbook] = field(default_factory=dict)
    broken: frozenset[str] = frozenset()


def read_all(directory: Path, problems: Problems) -> Library:
    runbooks: dict[str, ReadRunbook] = {}
    places: dict[str, Place] = {}
    broken: set[str] = set()
    for file in sorted(directory.glob("*.yaml")):
        document = yaml_file.read(file, problems)
        place = Place(document) if document is not None else None
        section = shape(RunbookFile, place, problems) if place is not None else None
        if place is None or section is None:
            broken |= {file.stem, (place / "name").mark.text or ""} if place is not None else {file.stem}
        elif section.name in places:
            problems.error(place / "name", f"a runbook {section.name!r} is already in {places[section.name]}: give each its own name")
        else:
            places[section.name] = place
            runbooks[section.name] = _Reader(problems).runbook(section, place)
    return Library(runbooks, frozenset(broken))


class _Reader:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._variables: dict[str, Place] = {}
        self._credentials: dict[str, Place] = {}
        self._lists: dict[str, Place] = {}

    def runbook(self, section: RunbookFile, place: Place) -> ReadRunbook:
        steps = [self._step(step, place / "steps" / position) for position, step in enumerate(section.steps)]
        self._check_what_is_destroyed(section, place)
        runbook = Runbook(
            name=section.name,
            kind=section.kind,
            budget=section.budget,
            steps=tuple(step for step in steps if step),
            deploys=section.deploys,
            destroys=section.destroys or (),
            confirm=section.confirm,
        )
        for position, step in enumerate(section.steps):
            if step.manual is not None and section.kind is RunbookKind.QUICK:
                where = place / "steps" / position / "manual"
                self._problems.error(where, "a quick runbook runs by itself, and nobody may be there to tick this", at_key=True)
        return ReadRunbook(runbook, place, self._variables, self._credentials, self._lists)

    def _check_what_is_destroyed(self, section: RunbookFile, place: Place) -> None:
        if section.kind is RunbookKind.DATA and section.destroys is None:
            self._problems.error(place / "kind", "a data runbook says what it destroys: destroys: [database ${vars.database}]")
        if section.kind is RunbookKind.QUICK and not section.deploys:
            self._problems.error(place / "deploys", "a quick runbook is a rollback: it deploys its target", at_key=True)
        for key in ("destroys", "confirm"):
            if section.kind is not RunbookKind.DATA and (place / key).written:
                self._problems.error(place / key, f"{key!r} belongs to a data runbook: {section.kind} destroys nothing", at_key=True)
        texts = [(place / "destroys" / position, line) for position, line in enumerate(section.destroys or ())]
        self._check_placeholders([*texts, *([(place / "confirm", section.confirm)] if section.confirm else [])], frozenset())

    def _step(self, step: StepSection, place: Place) -> Step | None:
        actions = [action for action in _ACTIONS if (place / action).written]
        if len(actions) != 1:
            self._problems.error(place, f"a step is one of {', '.join(_ACTIONS)}: here {' and '.join(actions) or 'none'} is written")
            return None
        if (place / "env").written and actions != ["run"]:
            self._problems.error(place / "env", f"'env' belongs to run: {actions[0]} has none", at_key=True)
        if (place / "interruptible").written and actions == ["http"]:
            self._problems.error(place / "interruptible", "a request that was sent is not taken back: take it out", at_key=True)
        if step.http is not None:
            self._check_headers(step.http, place / "http")
        self._check_undo(step, place, acts=actions[0] in {"run", "http"})
        self._check_texts(step, place)
        action = self._action(step, place)
        if action is None:
            return None
        return Step(
            name=step.name,
            action=action,
            timeout=step.timeout,
            probe=questions.probe(step.probe, place / "probe", self._problems, expected=True) if step.probe else None,
            idempotent=step.idempotent,
            retries=step.retries,
            interruptible=step.interruptible,
            on_failure=step.on_failure,
            undo=_undo(step),
            for_each=self._for_each(step, place),
            max_parallel=step.max_parallel,
            stop_after_failures=step.stop_after_failures,
        )

    def _action(self, step: StepSection, place: Place) -> Run | Request | Wait | Verify | Manual | None:
        if step.run is not None:
            return Run(argv=step.run, env=questions.environment(step.env))
        if step.http is not None:
            return _request(step.http)
        if step.manual is not None:
            return Manual(text=step.manual)
        if step.wait is not None:
            until = questions.probe(step.wait, place / "wait", self._problems, expected=True)
            return Wait(until=until) if until else None
        checks = [
            questions.probe(question, place / "verify" / position, self._problems, expected=True)
            for position, question in enumerate(step.verify or ())
        ]
        return Verify(checks=tuple(check for check in checks if check)) if checks else None

    def _check_undo(self, step: StepSection, place: Place, *, acts: bool) -> None:
        if step.undo is None:
            return
        place = place / "undo"
        actions = [action for action in ("run", "http") if (place / action).written]
        if not acts:
            self._problems.error(place, "'undo' belongs to run and http: the others change nothing", at_key=True)
        if len(actions) != 1:
            self._problems.error(place, f"an undo is one of run, http: here {' and '.join(actions) or 'none'} is written")
        if (place / "env").written and actions != ["run"]:
            self._problems.error(place / "env", "'env' belongs to run", at_key=True)
        if step.undo.http is not None:
            self._check_headers(step.undo.http, place / "http")

    def _for_each(self, step: StepSection, place: Place) -> str | None:
        """The variable whose items the step is for. Without it, what says how many of them makes no sense."""
        if step.for_each is None:
            for key in ("max_parallel", "stop_after_failures"):
                if (place / key).written:
                    self._problems.error(place / key, f"{key!r} belongs to for_each", at_key=True)
            return None
        found = _ITEMS.fullmatch(step.for_each)
        if found is None:
            self._problems.error(place / "for_each", f"{step.for_each!r}: name one variable that is a list, such as ${{vars.hosts}}")
            return None
        if step.manual is not None:
            self._problems.error(place / "for_each", "'manual' is one line for one person: write a step for each", at_key=True)
        self._lists.setdefault(found[1], place / "for_each")
        return found[1]

    def _check_headers(self, request: RequestSection, place: Place) -> None:
        for name, value in request.headers.items():
            if name.lower() in _HEADERS_OF_OURS:
                self._problems.error(place / "headers" / name, f"{name} is written by rollbackd: take it out", at_key=True)
            elif name.lower() == "authorization" and isinstance(value, str):
                where = "a secret does not stand in a config: name a credential of the service, as token: {credential: NAME}"
                self._problems.error(place / "headers" / name, where)
            elif isinstance(value, str) and not value.isprintable():
                self._problems.error(place / "headers" / name, "write the value of a header as one line of text")

    def _check_texts(self, step: StepSection, place: Place) -> None:
        """Every placeholder is one that there is; which variables and credentials a service has to have is noted."""
        texts = [(place / "manual", step.manual)] if step.manual is not None else []
        fixed: list[tuple[Place, str, str]] = []
        for section, at in _acting(step, place):
            texts += _texts_of(section, at)
            fixed += _fixed_of(section, at)
            for credentials, where in _credentials_of(section, at):
                self._note_credentials(credentials, where)
        for question, where in _questions(step, place):
            texts += questions.texts(question, where)
            fixed += questions.fixed(question, where)
            self._note_credentials(question.env, where / "env")
        for where, text, what in fixed:
            for name in placeholders.AT_ROLLBACK.intersection(placeholders.names(text)):
                self._problems.error(where, f"${{{name}}} cannot be {what}: only ${{service.name}} and ${{vars.…}} can")
        self._check_placeholders(texts, frozenset({"item"} if step.for_each is not None else ()))

    def _check_placeholders(self, texts: Iterable[tuple[Place, str]], more: frozenset[str]) -> None:
        for where, text in texts:
            variables = [name for name in placeholders.names(text) if name.startswith("vars.") and name != "vars."]
            for name in variables:
                self._variables.setdefault(name.removeprefix("vars."), where)
            for complaint in placeholders.complaints(text, {"service.name", *placeholders.AT_ROLLBACK, *more, *variables}):
                self._problems.error(where, complaint)

    def _note_credentials(self, env: Mapping[str, str | Credential], place: Place) -> None:
        for variable, value in env.items():
            if isinstance(value, Credential):
                self._credentials.setdefault(value.credential, place / variable)


def _undo(step: StepSection) -> Undo | None:
    undo = step.undo
    if undo is None:
        return None
    timeout = undo.timeout or step.timeout
    if undo.run is not None:
        return Undo(action=Run(argv=undo.run, env=questions.environment(undo.env)), timeout=timeout, idempotent=undo.idempotent)
    if undo.http is not None:
        return Undo(action=_request(undo.http), timeout=timeout, idempotent=undo.idempotent)
    return None


def _acting(step: StepSection, place: Place) -> Iterator[tuple[StepSection | UndoSection, Place]]:
    """What changes something: the step itself, and what takes it back."""
    yield step, place
    if step.undo is not None:
        yield step.undo, place / "undo"


def _texts_of(section: StepSection | UndoSection, place: Place) -> Iterator[tuple[Place, str]]:
    yield from questions.argv_texts(section.run or (), place / "run")
    yield from questions.env_texts(section.env, place / "env")
    if section.http is not None:
        yield from _request_texts(section.http, place / "http")


def _fixed_of(section: StepSection | UndoSection, place: Place) -> Iterator[tuple[Place, str, str]]:
    if section.run:
        yield place / "run" / 0, section.run[0], "the command itself"
    if section.http is not None:
        yield place / "http" / "url", urlsplit(section.http.url).netloc, "part of the host"


def _credentials_of(section: StepSection | UndoSection, place: Place) -> Iterator[tuple[Mapping[str, EnvValue], Place]]:
    yield section.env, place / "env"
    if section.http is not None:
        yield section.http.headers, place / "http" / "headers"
    if section.http is not None and section.http.token is not None:
        yield {"token": section.http.token}, place / "http"


def _request(section: RequestSection) -> Request:
    return Request(
        method=section.method,
        url=section.url,
        json=None if section.body is None else orjson.dumps(section.body).decode(),
        headers=questions.environment(section.headers),
        token=None if section.token is None else CredentialRef(section.token.credential),
        status=section.status or (),
    )


def _request_texts(section: RequestSection, place: Place) -> Iterator[tuple[Place, str]]:
    yield place / "url", section.url
    yield from questions.env_texts(section.headers, place / "headers")
    yield from _json_texts(section.body, place / "json")


def _json_texts(value: object, place: Place) -> Iterator[tuple[Place, str]]:
    match value:
        case str():
            yield place, value
        case list():
            for position, each in enumerate(value):
                yield from _json_texts(each, place / position)
        case dict():
            for name, each in value.items():
                yield from _json_texts(each, place / name)


def _questions(step: StepSection, place: Place) -> Iterator[tuple[Question, Place]]:
    if step.probe is not None:
        yield step.probe, place / "probe"
    if step.wait is not None:
        yield step.wait, place / "wait"
    for position, question in enumerate(step.verify or ()):
        yield question, place / "verify" / position
