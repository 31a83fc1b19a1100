"""Fills `${dotted.name}` from a closed set of names (I11). Pure.

Two kinds of values: those of the config (`service.name`, `vars.*`, `item`), whose author also wrote the command, and those from outside
(`target.*`, `current.*`, `incident.id`), which may become part of an argument or of a path, but never a command, a host or code.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final
from urllib.parse import quote, urlsplit

import orjson

from rollbackd.errors import MisconfiguredError, RefusedError
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release
from rollbackd.model.runbook import EnvironmentValue, HttpAsk, Manual, Probe, PromqlAsk, Request, Run, RunAsk, Step, Verify, Wait

ITEM: Final = "item"
"""The one of a list that a step is for."""
INCIDENT_ID: Final = "incident.id"
"""Known only once an incident is: it stays as it is written until a value for it is given."""

_OUTSIDE: Final = frozenset({"target.version", "target.artifact", "current.version", "current.artifact", INCIDENT_ID})
_PLACEHOLDER: Final = re.compile(r"\$\{([^{}]*)\}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_URL_SYNTAX: Final = ":/?#[]@!$&'()*+,;=%"


def values_of(policy: ServicePolicy, *, current: Release | None = None, target: Release | None = None) -> dict[str, str]:
    """What every placeholder stands for; a variable that is a list has no value here."""
    values = {"service.name": policy.name}
    values |= {f"vars.{name}": value for name, value in policy.vars.items() if isinstance(value, str)}
    for role, release in (("current", current), ("target", target)):
        if release is not None:
            values |= {f"{role}.version": release.version, f"{role}.artifact": release.artifact}
    return values


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with every placeholder filled.

    Raises:
        MisconfiguredError: a name that is not a placeholder.
        RefusedError: a value that may not stand in a command, or that is not known for this service now.
    """
    return _fill(text, values, quoting=str)


def fill_argv(argv: tuple[str, ...], values: Mapping[str, str]) -> tuple[str, ...]:
    """As `fill`, each element by itself; which command it is, only the config says."""
    _refuse_outside(argv[0], what="the command")
    return tuple(fill(element, values) for element in argv)


def fill_url(url: str, values: Mapping[str, str]) -> str:
    """As `fill`; a value from outside is one percent-encoded segment, and the host stands in the config."""
    config = {name: value for name, value in values.items() if name not in _OUTSIDE}
    filled = _PLACEHOLDER.sub(lambda found: found[0] if found[1] in _OUTSIDE else _value(found, config, _quote_config), url)
    try:
        parts = urlsplit(filled)
    except ValueError as e:
        raise MisconfiguredError(f"{filled!r} is not a URL: {e}") from e
    _refuse_outside(parts.netloc, what="the host of a URL")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise MisconfiguredError(f"{filled!r} is not a URL: write http://host/path or https://host/path")
    return _fill(filled, values, quoting=_quote_segment)


def fill_probe(probe: Probe, values: Mapping[str, str]) -> Probe:
    """What a probe asks and hopes for. PromQL has macros of its own; every `$` in it is left alone."""
    ask: RunAsk | HttpAsk | PromqlAsk
    match probe.ask:
        case RunAsk():
            ask = replace(probe.ask, argv=fill_argv(probe.ask.argv, values), env=fill_env(probe.ask.env, values))
        case HttpAsk():
            ask = replace(probe.ask, url=fill_url(probe.ask.url, values))
        case PromqlAsk():
            ask = probe.ask
    return replace(probe, ask=ask, equals=None if probe.equals is None else fill(probe.equals, values))


def fill_step(step: Step, values: Mapping[str, str]) -> Step:
    action: Run | Request | Wait | Verify | Manual
    match step.action:
        case Run() | Request():
            action = fill_action(step.action, values)
        case Wait():
            action = Wait(until=fill_probe(step.action.until, values))
        case Verify():
            action = Verify(checks=tuple(fill_probe(check, values) for check in step.action.checks))
        case Manual():
            action = Manual(text=fill(step.action.text, values))
    return replace(
        step,
        action=action,
        probe=None if step.probe is None else fill_probe(step.probe, values),
        undo=None if step.undo is None else replace(step.undo, action=fill_action(step.undo.action, values)),
    )


def fill_action(action: Run | Request, values: Mapping[str, str]) -> Run | Request:
    match action:
        case Run():
            return replace(action, argv=fill_argv(action.argv, values), env=fill_env(action.env, values))
        case Request():
            return replace(
                action,
                url=fill_url(action.url, values),
                json=None if action.json is None else fill_json(action.json, values),
                headers=fill_env(action.headers, values),
            )


def fill_env(env: Mapping[str, EnvironmentValue], values: Mapping[str, str]) -> dict[str, EnvironmentValue]:
    """As `fill`, each value; a credential stays a reference until a process is started with it."""
    return {name: fill(value, values) if isinstance(value, str) else value for name, value in env.items()}


def fill_json(text: str, values: Mapping[str, str]) -> str:
    """As `fill`, each text in it by itself: what is filled in can neither end the text nor become a key."""

    def filled(value: object) -> object:
        match value:
            case str():
                return fill(value, values)
            case list():
                return [filled(each) for each in value]
            case dict():
                return {name: filled(each) for name, each in value.items()}
            case _:
                return value

    return orjson.dumps(filled(orjson.loads(text))).decode()


def _fill(text: str, values: Mapping[str, str], *, quoting: Callable[[str], str]) -> str:
    filled = _PLACEHOLDER.sub(lambda found: _value(found, values, quoting), text)
    if "${" in filled.replace(f"${{{INCIDENT_ID}}}", ""):
        raise MisconfiguredError(f"{text!r}: '${{' begins a placeholder, such as ${{service.name}}, and this one does not end")
    return filled


def _value(found: re.Match[str], values: Mapping[str, str], quoting: Callable[[str], str]) -> str:
    placeholder, name = found[0], found[1]
    if name in values:
        return quoting(_check(name, values[name]))
    if name == INCIDENT_ID:
        return placeholder
    if name in _OUTSIDE:
        raise RefusedError(f"{placeholder} is asked for, but is not known for this service now", reason=Reason.RUNNING_VERSION_UNKNOWN)
    raise MisconfiguredError(f"{placeholder} is not a placeholder here: known are {', '.join(sorted({*values, INCIDENT_ID}))}")


def _check(name: str, value: str) -> str:
    if value.startswith("-"):
        raise RefusedError(f"{name} is {value!r}: a value that begins with '-' would be read as an option", reason=Reason.BAD_TARGET)
    if _CONTROL.search(value) or "${" in value:
        raise RefusedError(f"{name} is {value!r}: control characters and '${{' may not stand in a value", reason=Reason.BAD_TARGET)
    return value


def _refuse_outside(text: str, *, what: str) -> None:
    outside = [found[0] for found in _PLACEHOLDER.finditer(text) if found[1] in _OUTSIDE]
    if outside:
        raise MisconfiguredError(f"{text!r}: {what} may not depend on {outside[0]}, only on service.name and vars")


def _quote_config(value: str) -> str:
    return quote(value, safe=_URL_SYNTAX)


def _quote_segment(value: str) -> str:
    return quote(value, safe="")
