"""Facts as a report: Markdown from the template of a language, or JSON for programs."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Final

import orjson
from markupsafe import Markup

from rollbackd import __version__
from rollbackd.clock import rfc3339
from rollbackd.errors import MisconfiguredError
from rollbackd.report.facts import Facts
from rollbackd.report.markup import NOTHING, cell, code, fence, harmless_block, prose
from rollbackd.telemetry.redaction import harmless

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

LANGUAGES: Final = ("en",)
_LAST_LINES: Final = 40


def markdown(facts: Facts, language: str = "en") -> str:
    """Raises MisconfiguredError for a language without a template."""
    if language not in LANGUAGES:
        raise MisconfiguredError(f"there is no report in {language!r}: use one of {', '.join(LANGUAGES)}", path="report.language")
    return _environment().get_template(f"{language}.md.jinja").render(facts=facts, incident=facts.incident, version=__version__)


def json(facts: Facts) -> str:
    return orjson.dumps(to_json(facts), option=orjson.OPT_INDENT_2).decode()


def to_json(facts: Facts) -> dict[str, object]:
    """The same facts for programs. Keys are stable; an instant is RFC 3339 in UTC, a duration seconds, a reason its code."""
    incident = facts.incident
    report = {
        "incident": {
            "id": incident.id,
            "service": incident.service,
            "trigger": incident.trigger,
            "mode": incident.mode,
            "phase": incident.phase,
            "outcome": incident.outcome,
            "decision": incident.decision,
            "reason": incident.reason,
            "blame": incident.blame,
            "detail": incident.detail,
            "value": incident.decision_value,
            "suspect": incident.suspect,
            "target": incident.target,
            "target_artifact": incident.target_artifact,
            "requested_by": incident.requested_by,
            "request_reason": incident.request_reason,
            "reason_code": incident.reason_code,
            "onset": incident.onset,
            "opened_at": incident.opened_at,
            "rollback_started_at": incident.rollback_started_at,
            "rollback_ended_at": facts.ended_at,
            "impact_ended_at": facts.impact_ended_at,
            "closed_at": incident.closed_at,
        },
        "verification": [{"name": each.name, "verdict": each.verdict, "details": each.details} for each in facts.verifications],
        "phases": [
            {"name": each.name, "spent": each.spent, "budget": each.budget, "over_budget": each.is_over_budget} for each in facts.phases
        ],
        "checks": [
            {
                "name": each.name,
                "verdict": each.verdict,
                "reason": each.reason,
                "query": each.query,
                "value": each.value,
                "limit": each.limit,
                "sample_time": each.sample_time,
                "at": each.at,
            }
            for each in (facts.decision.checks if facts.decision is not None else ())
        ],
        "changes": [{"at": each.at, "kind": each.kind, "what": each.what, "by": each.by} for each in facts.changes],
        "attempts": [
            {
                "id": each.id,
                "step": each.step_name,
                "number": each.number,
                "argv": each.argv,
                "request": each.request,
                "status": each.status,
                "started_at": each.started_at,
                "ended_at": each.ended_at,
                "exit_code": each.exit_code,
                "signal": each.signal,
                "detail": each.detail,
                "output": each.output,
            }
            for each in facts.attempts
        ],
        "watch": [
            {
                "kind": each.kind,
                "name": each.name,
                "limit": each.limit,
                "first": each.first,
                "last": each.last,
                "verdict": each.verdict,
                "reason": each.reason,
                "good_looks": each.good,
                "looks": each.looks,
            }
            for each in facts.watch_lines
        ],
        "alerts": [
            {
                "name": each.name,
                "status": each.status,
                "starts_at": each.starts_at,
                "received_at": each.received_at,
                "labels": each.labels,
                "annotations": each.annotations,
            }
            for each in facts.alerts
        ],
        "timeline": [{"at": each.at, "kind": each.kind, "text": each.text} for each in facts.timeline],
        "contacts": [{"role": each.role, "name": each.name, "channel": each.channel} for each in facts.contacts],
        "made_at": facts.made_at,
    }
    return {key: _plain(value) for key, value in report.items()}


def _plain(value: object) -> object:
    """As JSON has it, with every text made harmless."""
    plain = value
    match value:
        case datetime():
            plain = rfc3339(value)
        case timedelta():
            plain = value.total_seconds()
        case Enum():
            plain = value.value
        case str():
            plain = harmless(value, lines=True)
        case Mapping():
            plain = {harmless(key): _plain(each) for key, each in value.items()}
        case list() | tuple():
            plain = [_plain(each) for each in value]
    return plain


@cache
def _environment() -> "SandboxedEnvironment":
    """Whatever a template puts out is escaped as Markdown, unless a filter here has made it Markdown."""
    from jinja2 import PackageLoader, StrictUndefined  # noqa: PLC0415 - a daemon that writes no report need not load it: 70 ms at start
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

    environment = ImmutableSandboxedEnvironment(
        loader=PackageLoader("rollbackd.report"),
        autoescape=True,
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(
        {
            "code": lambda value: NOTHING if value is None else code(str(value)),
            "cell": cell,
            "fence": fence,
            "last_lines": lambda text: "\n".join(harmless_block(text).splitlines()[-_LAST_LINES:]),
            "labels": lambda labels: " ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name != "alertname"),
            "words": lambda value: str(value).replace("_", " "),
            "moment": lambda instant: None if instant is None else f"{instant:%Y-%m-%d %H:%M:%S} UTC",
            "time": lambda instant: None if instant is None else f"{instant:%H:%M:%S}",
            "duration": _duration,
        }
    )
    return environment


def _finalize(value: object) -> Markup:
    if isinstance(value, Markup):
        return value
    if value is None:
        return NOTHING
    return prose(f"{value:.4g}" if isinstance(value, float) else str(value))


def _duration(duration: timedelta | None) -> str | None:
    """`850 ms`, `4.5 s`, `3 min 15 s`, `2 h 5 min`"""
    if duration is None:
        return None
    seconds = duration.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left} min" if minutes_left else f"{hours} h"
    if minutes:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{rest} s"
