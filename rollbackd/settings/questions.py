"""Questions of the config (probes, waits, checks, `running_version`) as the model's `Probe`, with everything that is wrong with them."""

from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from rollbackd.model.runbook import CredentialRef, EnvironmentValue, HttpAsk, Probe, PromqlAsk, RunAsk
from rollbackd.settings.document import Place
from rollbackd.settings.problems import Problems
from rollbackd.settings.runbook_schema import Credential, Question

_KINDS: Final = ("run", "http", "promql")
_EXPECTATIONS: Final = ("equals", "status", "exit", "is")
_BELONGS: Final = {
    "env": ("run",),
    "jmespath": ("run", "http"),
    "label": ("promql",),
    "status": ("http",),
    "exit": ("run",),
    "is": ("promql",),
}


def probe(question: Question, place: Place, problems: Problems, *, expected: bool) -> Probe | None:
    """The probe, or None when it is not clear what is asked. `expected`: it has to say which answer is hoped for, else it may not."""
    kinds = [kind for kind in _KINDS if (place / kind).written]
    if len(kinds) != 1:
        problems.error(place, f"ask one of {', '.join(_KINDS)}: here {' and '.join(kinds) or 'none'} is written")
        return None
    kind = kinds[0]
    for key, owners in _BELONGS.items():
        if (place / key).written and kind not in owners:
            problems.error(place / key, f"{key!r} belongs to {' and '.join(owners)}: {kind} has none", at_key=True)
    _check_expectation(place, problems, kind=kind, expected=expected)
    if question.satisfies is not None and question.satisfies.relative:
        problems.error(place / "is", f"{str(question.satisfies)!r} is relative: a question has no baseline, write a number")
    ask = _ask(question)
    if ask is None:
        return None
    return Probe(
        ask=ask,
        name=question.name,
        timeout=question.timeout,
        equals=question.equals,
        status=question.status or (),
        exit_code=question.exit,
        satisfies=question.satisfies,
    )


def environment(env: Mapping[str, str | Credential]) -> dict[str, EnvironmentValue]:
    return {name: CredentialRef(value.credential) if isinstance(value, Credential) else value for name, value in env.items()}


def texts(question: Question, place: Place) -> Iterator[tuple[Place, str]]:
    """Everything in it that may hold placeholders. PromQL has macros of its own, every other `$` there is left alone."""
    yield from argv_texts(question.run or (), place / "run")
    yield from env_texts(question.env, place / "env")
    if question.http is not None:
        yield place / "http", question.http
    if question.equals is not None:
        yield place / "equals", question.equals


def argv_texts(argv: tuple[str, ...], place: Place) -> Iterator[tuple[Place, str]]:
    yield from ((place / position, element) for position, element in enumerate(argv))


def env_texts(env: Mapping[str, str | Credential], place: Place) -> Iterator[tuple[Place, str]]:
    yield from ((place / name, value) for name, value in env.items() if isinstance(value, str))


def fixed(question: Question, place: Place) -> Iterator[tuple[Place, str, str]]:
    """What only the config says, never a release (I11): which command runs and which host is asked; with what to call it."""
    if question.run:
        yield place / "run" / 0, question.run[0], "the command itself"
    if question.http is not None:
        yield place / "http", urlsplit(question.http).netloc, "part of the host"


def _check_expectation(place: Place, problems: Problems, *, kind: str, expected: bool) -> None:
    written = [key for key in _EXPECTATIONS if (place / key).written]
    if not expected and written:
        problems.error(place / written[0], f"{written[0]!r} says which answer is hoped for: here the answer itself is asked", at_key=True)
    if not expected and kind == "promql" and not (place / "label").written:
        problems.error(place, "'label' is missing: the label of the answer that holds the version")
    if expected and len(written) != 1:
        fitting = [key for key in _EXPECTATIONS if kind in _BELONGS.get(key, _KINDS)]
        problems.error(
            place, f"say which one answer is hoped for: {' or '.join(fitting)}; here {' and '.join(written) or 'none'} is written"
        )
    if expected and kind == "promql" and "equals" in written and not (place / "label").written:
        problems.error(place / "equals", "'equals' needs a 'label': a number is compared with 'is', such as is: '< 0.005'", at_key=True)


def _ask(question: Question) -> RunAsk | HttpAsk | PromqlAsk | None:
    if question.run is not None:
        return RunAsk(argv=question.run, env=environment(question.env), jmespath=question.jmespath)
    if question.http is not None:
        return HttpAsk(url=question.http, jmespath=question.jmespath)
    if question.promql is not None:
        return PromqlAsk(query=question.promql, label=question.label)
    return None
