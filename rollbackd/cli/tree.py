"""One incident as a tree: alert, decision, rollback, watch, outcome, each with its time and its numbers beside their limits. Pure.

`rollbackd watch`, `rollbackd show` and the demo draw the same one. It is made for 80 columns, and says in words what it says in colour.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final

from rich.text import Text
from rich.tree import Tree

from rollbackd.cli.output import BAD, BUSY, GOOD, QUIET, STYLES, WARN
from rollbackd.clock import parse_rfc3339
from rollbackd.telemetry.redaction import strip_controls
from rollbackd.web.shapes import AttemptShape, CheckShape, IncidentRecord, MeasureShape

ICONS: Final = {GOOD: "✔", BAD: "✘", WARN: "!", BUSY: "▶", QUIET: "·"}
BARS: Final = "▁▂▃▄▅▆▇█"
LONGEST_SPARKLINE: Final = 16
_IN_THE_WAY: Final = frozenset({"failed", "unknown"})
_TELLING: Final = {"no_recent_release": "release", "target": "target"}
"""Checks that are worth their line also when they passed, as every measured one is; and what to call them then."""


def render(record: IncidentRecord, now: datetime) -> Tree:
    tree = Tree(_title(record), guide_style=QUIET)
    _alert(tree, record)
    _decision(tree, record, now)
    _person(tree, record, now)
    _rollback(tree, record, now)
    _watch(tree, record, now)
    _outcome(tree, record)
    return tree


def elapsed(seconds: float) -> str:
    """`0.4s`, `12s`, `3m 05s`, `1h 02m`: two units at most."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes_left:02}m"
    return f"{minutes}m {rest:02}s" if minutes else f"{rest}s"


def sparkline(values: Sequence[float | None], limit: float) -> str:
    """The values as bars from zero to the limit, or the greatest value that went over it; a blank where there was none."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    full = max(*known, limit)
    top = len(BARS) - 1
    return "".join(" " if value is None else BARS[round(max(value, 0.0) / full * top) if full else 0] for value in values)


def _title(record: IncidentRecord) -> Text:
    state = record["outcome"] or record["phase"]
    title = Text.assemble((_safe(record["service"]), "bold"), "  ", (state.replace("_", " "), f"bold {STYLES.get(state, '')}"))
    title.append(f"  {_safe(record['id'])}", QUIET)
    return title.append("\n").append(_safe(record["why"]))


def _alert(tree: Tree, record: IncidentRecord) -> None:
    if record["starts_at"] is None:
        tree.add(_line(GOOD, "by hand", f"{record['requested_by'] or ''}: {record['request_reason'] or ''}"))
        return
    name = record["alertname"] or record["trigger"] or ""
    waited = _between(record["starts_at"], record["delivered_at"])
    tree.add(_line(BAD, "alert", f"{name} since {_at(record['starts_at'])}", f"delivered after {elapsed(waited or 0)}"))


def _decision(tree: Tree, record: IncidentRecord, now: datetime) -> None:
    if record["decision"] is None or record["decided_at"] is None:
        if record["phase"] == "deciding":
            tree.add(_line(BUSY, "decision", "measuring", _since(record["opened_at"], None, now)))
        return
    if not record["checks"]:
        return
    versions = _versions(record) if record["decision"] == "roll_back" else (record["reason"] or "").replace("_", " ")
    style = GOOD if record["decision"] == "roll_back" else WARN
    took = _since(record["opened_at"], record["decided_at"], now)
    branch = tree.add(_line(style, "decision", f"{record['decision'].replace('_', ' ')}  {versions}", took))
    shown = [check for check in record["checks"] if check["verdict"] in _IN_THE_WAY or check["query"] or check["name"] in _TELLING]
    width = _width(_name(check) for check in shown)
    for check in shown:
        branch.add(_check(check, width, decides=check["name"] == record["deciding"]))
    rest = sum(check["verdict"] == "passed" for check in record["checks"] if check not in shown)
    if rest:
        branch.add(_line(GOOD, "", f"{rest} more {'check' if rest == 1 else 'checks'} passed"))


def _person(tree: Tree, record: IncidentRecord, now: datetime) -> None:
    if record["phase"] not in {"proposed", "escalated"}:
        return
    asked_at = record["proposed_at"] if record["phase"] == "proposed" else record["escalated_at"]
    branch = tree.add(_line(WARN, record["phase"], "waiting for a person", _since(asked_at, None, now)))
    if record["plan"] is not None:
        branch.add(Text(f"rollbackd approve {_safe(record['id'])}"))
    branch.add(Text(f"rollbackd reject {_safe(record['id'])} --reason …"))


def _rollback(tree: Tree, record: IncidentRecord, now: datetime) -> None:
    if record["rollback_started_at"] is None:
        return
    running = record["phase"] == "rolling_back"
    failed = record["outcome"] in {"failed", "aborted"}
    took = _since(record["rollback_started_at"], record["rollback_ended_at"] or record["closed_at"], now)
    branch = tree.add(_line(BUSY if running else BAD if failed else GOOD, "rollback", _versions(record), took))
    steps = [list(tries) for _, tries in groupby(record["attempts"], key=lambda attempt: attempt["step_index"])]
    width = _width(tries[-1]["step"] for tries in steps)
    for tries in steps:
        branch.add(_step(tries, width, now))


def _step(tries: Sequence[AttemptShape], width: int, now: datetime) -> Text:
    last = tries[-1]
    said = last["status"].replace("_", " ") + (f" (try {last['number']})" if last["number"] > 1 else "")
    if last["detail"] and last["status"] != "succeeded":
        said = f"{said}: {last['detail']}"
    took = _since(tries[0]["started_at"] or tries[0]["intended_at"], last["ended_at"], now)
    return _line(STYLES.get(last["status"], QUIET), last["step"].ljust(width), said, took)


def _watch(tree: Tree, record: IncidentRecord, now: datetime) -> None:
    if record["rollback_ended_at"] is None or not (record["looks"] or record["phase"] == "watching"):
        return
    looks = record["looks"]
    took = _since(record["rollback_ended_at"], record["closed_at"], now)
    said = f"{len(looks)} {'look' if len(looks) == 1 else 'looks'}" if looks else "waiting for the first look"
    branch = tree.add(_line(BUSY if record["phase"] == "watching" else GOOD, "watch", said, took))
    if not looks:
        return
    measures = [(one, "target") for one in looks[-1]["objectives"]] + [(one, "limit") for one in looks[-1]["triggers"]]
    width = _width(one["name"] for one, _ in measures)
    for one, word in measures:
        history = [past["value"] for look in looks for past in look["objectives"] + look["triggers"] if past["name"] == one["name"]]
        branch.add(_measure(one, word, width, sparkline(history[-LONGEST_SPARKLINE:], _number(one["limit"]))))


def _outcome(tree: Tree, record: IncidentRecord) -> None:
    if record["outcome"] is None:
        return
    total = _between(record["delivered_at"] or record["opened_at"], record["closed_at"])
    since = "after the alert came" if record["delivered_at"] else "after it began"
    took = f"{elapsed(total)} {since}" if total is not None else ""
    tree.add(_line(STYLES.get(record["outcome"], QUIET), "outcome", record["outcome"].replace("_", " "), took))


def _check(check: CheckShape, width: int, *, decides: bool) -> Text:
    """The first clause of its value and of its limit: `explain` has the rest."""
    value = ("decided: " if decides else "") + (check["value"] or check["reason"].replace("_", " ")).partition(";")[0]
    telling = check["verdict"] == "passed" and check["name"] in _TELLING
    limit = f"limit {check['limit'].partition(';')[0]}" if check["limit"] and not telling else ""
    return _line(STYLES.get(check["verdict"], QUIET), _name(check).ljust(width), value, limit)


def _name(check: CheckShape) -> str:
    telling = _TELLING.get(check["name"]) if check["verdict"] == "passed" else None
    return telling or check["name"].replace("_", " ")


def _measure(one: MeasureShape, word: str, width: int, history: str) -> Text:
    """`✔ error_rate  0.002  target < 0.005  ▇▃▁▁  met`."""
    style = STYLES.get(one["verdict"], QUIET)
    value = "—" if one["value"] is None else f"{one['value']:.4g}"
    line = _line(style, one["name"].ljust(width), f"{value:>8}", f"{word} {one['limit']}")
    return line.append(f"  {history}" if history else "", style).append(f"  {one['reason'] or one['verdict']}".replace("_", " "), QUIET)


def _line(style: str, name: str, said: str, aside: str = "") -> Text:
    line = Text(no_wrap=True, overflow="ellipsis").append(f"{ICONS.get(style, '·')} ", style)
    if name:
        line.append(f"{_safe(name):<9}  ", "bold")
    line.append(_safe(said))
    return line.append(f"  {_safe(aside)}", QUIET) if aside else line


def _safe(text: str) -> str:
    """On one line as it stands: blanks are kept, they align the columns (I11)."""
    return " ".join(strip_controls(text).expandtabs(1).split("\n"))


def _versions(record: IncidentRecord) -> str:
    return f"{record['suspect'] or 'what runs'} → {record['target'] or '?'}"


def _width(names: Iterable[str]) -> int:
    return max((min(len(name), 28) for name in names), default=0)


def _number(limit: str) -> float:
    """The number in `< 0.005`; 0 for a relative one, which has none of its own."""
    found = re.search(r"[\d.]+(?:[eE][+-]?\d+)?$", limit)
    return float(found[0]) if found else 0.0


def _between(start: str | None, end: str | None) -> float | None:
    return None if start is None or end is None else (parse_rfc3339(end) - parse_rfc3339(start)).total_seconds()


def _since(start: str | None, end: str | None, now: datetime) -> str:
    if start is None:
        return ""
    return elapsed(((parse_rfc3339(end) if end is not None else now) - parse_rfc3339(start)).total_seconds())


def _at(instant: str) -> str:
    return f"{parse_rfc3339(instant):%H:%M:%S} UTC"
