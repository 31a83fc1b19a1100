"""The backtest's files: one JSON object a line. Everything that is wrong is said at once, as `file:line: message`.

A file may say more than is read here, such as notes of whoever labelled it; a name that is not read is told once, in case it is a
misspelt one. What became of a release later (`mark`) is never read: nobody knew it at the time of the alert.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson

from rollbackd.backtest.past import PastAlert, PastChanges, PastReleases, Recorded, Truth
from rollbackd.clock import parse_rfc3339
from rollbackd.errors import MisconfiguredError
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import Action
from rollbackd.model.release import Release, ReleaseKind, ReleaseStatus, check_version

_T = TypeVar("_T")

_ALERT_FIELDS: Final = frozenset({"id", "at", "alertname", "labels", "truth", "scenario", "why"})
_RELEASE_FIELDS: Final = frozenset({
    "service", "version", "artifact", "started_at", "live_at", "deployed_at", "status", "irreversible", "group", "schema",
    "schema_compatible", "kind", "mark", "mark_reason", "source",
})  # fmt: skip
_CHANGE_FIELDS: Final = frozenset({"service", "kind", "what", "at", "by"})
_TRUTHS: Final = {action.value: action for action in (Action.ROLL_BACK, Action.HOLD)}
_FIRST_SECOND, _LAST_SECOND = 0, 32_503_680_000  # the year 3000: milliseconds lie behind it
_NO_TIME: Final = datetime.fromtimestamp(0, UTC)
_TIME: Final = "write epoch seconds, or RFC 3339 such as 2026-01-31T12:00:00Z"


@dataclass(frozen=True, slots=True)
class LineProblem:
    """`line` counts from 1; None: the file as a whole."""

    file: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}" if self.line is not None else f"{self.file}: {self.message}"


class InvalidFilesError(MisconfiguredError):
    """`problems` are all that is wrong, in the order of the files."""

    def __init__(self, problems: tuple[LineProblem, ...]) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{problems[0]}{more}")
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """None: no such file was named. `truths` are by the id of the alert."""

    alerts: tuple[PastAlert, ...] | None = None
    truths: Mapping[str, Truth] = field(default_factory=dict)
    releases: PastReleases | None = None
    changes: PastChanges | None = None
    warnings: tuple[LineProblem, ...] = ()


def read(alerts: Path | None, releases: Path | None, changes: Path | None = None) -> Files:
    """Raises InvalidFilesError with what is wrong with any of the files."""
    problems: list[LineProblem] = []
    warnings: list[LineProblem] = []
    read_alerts, truths = _read_alerts(_Lines(alerts, _ALERT_FIELDS, problems, warnings)) if alerts is not None else (None, {})
    read_releases = _read_releases(_Lines(releases, _RELEASE_FIELDS, problems, warnings)) if releases is not None else None
    read_changes = _read_changes(_Lines(changes, _CHANGE_FIELDS, problems, warnings)) if changes is not None else None
    if problems:
        raise InvalidFilesError(tuple(problems))
    return Files(alerts=read_alerts, truths=truths, releases=read_releases, changes=read_changes, warnings=tuple(warnings))


def parse_time(value: object) -> datetime:
    """An instant from epoch seconds (a number, or a text of digits) or RFC 3339. Raises ValueError with what to write."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().replace(".", "", 1).isdigit():
        value = float(value)
    match value:
        case bool():
            pass
        case int() | float() if _FIRST_SECOND <= value < _LAST_SECOND:
            return datetime.fromtimestamp(value, UTC)
        case int() | float():
            raise ValueError(f"{value} is no time in seconds: {_TIME}")
        case str():
            try:
                return parse_rfc3339(value)
            except (ValueError, OverflowError):
                pass
    raise ValueError(f"{_shown(value)} is not a time: {_TIME}")


def _read_alerts(lines: "_Lines") -> tuple[tuple[PastAlert, ...], dict[str, Truth]]:
    alerts: dict[str, PastAlert] = {}
    truths: dict[str, Truth] = {}
    for row in lines.rows():
        alert_id = row.text("id")
        if alert_id and alert_id in alerts:
            row.wrong(f"id {alert_id!r} stands twice: give each alert its own")
        labels = row.labels("labels")
        alerts[alert_id] = PastAlert(id=alert_id, at=row.time("at"), name=row.text("alertname", labels.get("alertname")), labels=labels)
        truth = row.choice("truth", _TRUTHS)
        if truth is not None:
            truths[alert_id] = Truth(decision=truth, scenario=row.text("scenario", "") or None)
    return tuple(alerts.values()), truths


def _read_releases(lines: "_Lines") -> PastReleases:
    """The first record of the same version and start counts, as in the register."""
    known: dict[tuple[str, str, datetime], Release] = {}
    for row in lines.rows():
        release = _release(row)
        known.setdefault((release.service, release.version, release.started_at), release)
    services: dict[str, list[Release]] = {}
    for release in known.values():
        services.setdefault(release.service, []).append(release)
    return PastReleases({service: Recorded.of(releases) for service, releases in services.items()})


def _release(row: "_Row") -> Release:
    status = row.choice("status", {one.value: one for one in ReleaseStatus}) or ReleaseStatus.LIVE
    version = row.version("version")
    begun = next((name for name in ("started_at", "deployed_at", "live_at") if row.has(name)), "started_at")
    ended = next((name for name in ("live_at", "deployed_at") if row.has(name)), begun)
    started_at = row.time(begun)
    live_at = row.time(ended, otherwise=started_at) if ended != begun else started_at
    if live_at < started_at:
        row.wrong(f"{ended!r} lies before {begun!r}: a release is live after it started")
    return Release(
        service=row.text("service"),
        version=version,
        artifact=row.version("artifact") if row.has("artifact") else version,
        started_at=started_at,
        live_at=live_at if status is ReleaseStatus.LIVE else None,
        status=status,
        kind=row.choice("kind", {one.value: one for one in ReleaseKind}) or ReleaseKind.RELEASE,
        group=row.text("group", "") or None,
        irreversible=row.flag("irreversible"),
        schema=row.text("schema", "") or None,
        schema_compatible=row.flag("schema_compatible"),
        source="file",
    )


def _read_changes(lines: "_Lines") -> PastChanges:
    """The same service, kind, words and time are one change, as in the register."""
    known = [
        Change(
            service=row.text("service"),
            kind=row.choice("kind", {one.value: one for one in ChangeKind}, required=True) or ChangeKind.CONFIG,
            what=row.text("what"),
            at=row.time("at"),
            by=row.text("by", ""),
        )
        for row in lines.rows()
    ]
    return PastChanges.of(known)


class _Lines:
    def __init__(self, path: Path, fields: frozenset[str], problems: list[LineProblem], warnings: list[LineProblem]) -> None:
        self._path = path
        self._fields = fields
        self._problems = problems
        self._warnings = warnings
        self._told: set[str] = set()

    def rows(self) -> Iterator["_Row"]:
        """Every line that holds an object; the others are problems. Empty lines are passed over."""
        try:
            lines = self._path.read_bytes().split(b"\n")
        except OSError as e:
            self._problems.append(LineProblem(self._path, None, f"cannot be read: {e.strerror}"))
            return
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                values = orjson.loads(line)
            except orjson.JSONDecodeError as e:
                self._problems.append(
                    LineProblem(self._path, number, f"is not JSON, write one object a line: {str(e).split(': line ')[0]}")
                )
                continue
            if not isinstance(values, dict):
                self._problems.append(LineProblem(self._path, number, f"{_shown(values)} is not a JSON object: write one object a line"))
                continue
            self._tell_unread(number, values)
            yield _Row(self._path, number, values, self._problems)

    def _tell_unread(self, number: int, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._fields and name not in self._told:
                self._told.add(name)
                self._warnings.append(LineProblem(self._path, number, f"{_shown(name)} is not read, here or further down"))


class _Row:
    """Takes one object apart. What is wrong with it is a problem, and then stands as something harmless: nothing of it is used."""

    def __init__(self, file: Path, line: int, values: Mapping[str, Any], problems: list[LineProblem]) -> None:
        self._file = file
        self._line = line
        self._values = values
        self._problems = problems

    def wrong(self, message: str) -> None:
        self._problems.append(LineProblem(self._file, self._line, message))

    def has(self, name: str) -> bool:
        return self._values.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """A whole number counts as text, as versions and ids may be."""
        match self._values.get(name):
            case None if default is not None:
                return default
            case None | "":
                self.wrong(f"{name!r} is missing")
            case str(text):
                return text
            case bool() | float() as value:
                self.wrong(f"{name!r} is {_shown(value)}: write it in quotes")
            case int(number):
                return str(number)
            case value:
                self.wrong(f"{name!r} is {_shown(value)}: write a text")
        return ""

    def version(self, name: str) -> str:
        text = self.text(name)
        if text:
            try:
                return check_version(text, what=name)
            except ValueError as e:
                self.wrong(str(e))
        return text

    def time(self, name: str, *, otherwise: datetime = _NO_TIME) -> datetime:
        if not self.has(name):
            self.wrong(f"{name!r} is missing")
        else:
            try:
                return parse_time(self._values[name])
            except ValueError as e:
                self.wrong(f"{name!r}: {e}")
        return otherwise

    def flag(self, name: str) -> bool:
        value = self._values.get(name)
        if value is not None and not isinstance(value, bool):
            self.wrong(f"{name!r} is {_shown(value)}: write true or false")
        return value is True

    def labels(self, name: str) -> dict[str, str]:
        match self._values.get(name):
            case dict(labels) if all(isinstance(value, str) for value in labels.values()):
                return labels
            case None:
                self.wrong(f"{name!r} is missing")
            case value:
                self.wrong(f"{name!r} is {_shown(value)}: write an object of texts")
        return {}

    def choice(self, name: str, choices: Mapping[str, _T], *, required: bool = False) -> _T | None:
        value = self._values.get(name)
        if value is None:
            if required:
                self.wrong(f"{name!r} is missing: write {' or '.join(choices)}")
            return None
        if not isinstance(value, str) or value not in choices:
            self.wrong(f"{name!r} is {_shown(value)}: write {' or '.join(choices)}")
            return None
        return choices[value]


def _shown(value: object) -> str:
    """What was written, short enough for a sentence."""
    shown = orjson.dumps(value).decode()
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
