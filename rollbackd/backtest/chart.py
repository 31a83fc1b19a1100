"""An indicator around one alert as a drawing: its line, its limit, and when what happened. Numbers only; the page draws them. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rollbackd.backtest.run import Result
from rollbackd.model.measurement import Reading

WIDTH: Final = 760
HEIGHT: Final = 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 62, 22
_BEFORE: Final = timedelta(minutes=10)
_LEAST: Final = timedelta(minutes=20)
_LABEL_HEIGHT: Final = 14


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment: `kind` is release, onset, alert or decision. Its text stands at `text_y`, left of the line where `is_left`."""

    kind: str
    text: str
    x: float
    text_y: float
    is_left: bool


@dataclass(frozen=True, slots=True)
class Tick:
    text: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """`lines` are the points of the runs of measured steps, as SVG writes them: what was not measured is a gap."""

    lines: tuple[str, ...]
    limit_y: float | None
    marks: tuple[Mark, ...]
    times: tuple[Tick, ...]
    values: tuple[Tick, ...]
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM


def draw(result: Result) -> Chart | None:
    """Up to the decision, which saw no more; None when nothing was measured."""
    readings = result.evidence.readings if result.evidence else ()
    moments = _moments(result)
    begin = min([result.alert.at - _LEAST, *(at - _BEFORE for _, _, at in moments)])
    shown = [reading for reading in readings if reading.at >= begin]
    measured = [reading.value for reading in shown if reading.value is not None]
    if not measured:
        return None
    limit = result.decision.limit
    scale = _Scale(
        begin=shown[0].at,
        end=max(shown[-1].at, shown[0].at + timedelta(seconds=1)),
        low=min(0.0, *measured),
        high=max([*measured, *([] if limit is None else [limit])]) * 1.08 or 1.0,
    )
    return Chart(
        lines=tuple(_points(run, scale) for run in _runs(shown)),
        limit_y=None if limit is None else scale.y(limit),
        marks=tuple(_marks(moments, scale)),
        times=tuple(Tick(f"{at:%H:%M:%S}", scale.x(at)) for at in (scale.begin, scale.end)),
        values=tuple(Tick(f"{value:.3g}", scale.y(value)) for value in (scale.low, scale.high / 1.08)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    begin: datetime
    end: datetime
    low: float
    high: float

    def x(self, at: datetime) -> float:
        share = (at - self.begin) / (self.end - self.begin)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _moments(result: Result) -> list[tuple[str, str, datetime]]:
    decision = result.decision
    moments = [("alert", "alert", result.alert.at), ("decision", decision.action.replace("_", " "), decision.at)]
    if decision.onset is not None:
        moments.insert(0, ("onset", "onset", decision.onset))
    if decision.suspect is not None:
        moments.insert(0, ("release", decision.suspect.version, decision.suspect.started_at))
    return moments


def _marks(moments: Sequence[tuple[str, str, datetime]], scale: _Scale) -> Iterator[Mark]:
    """Each text on a line of its own, so that moments that lie close stay readable. What lies before the chart is left out."""
    for position, (kind, text, at) in enumerate(moments):
        if at >= scale.begin:
            x = scale.x(at)
            yield Mark(kind, text, x, 12 + position * _LABEL_HEIGHT, is_left=x > WIDTH / 2)


def _runs(readings: Sequence[Reading]) -> Iterator[list[tuple[datetime, float]]]:
    run: list[tuple[datetime, float]] = []
    for reading in readings:
        if reading.value is not None:
            run.append((reading.at, reading.value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _points(run: Sequence[tuple[datetime, float]], scale: _Scale) -> str:
    points = [f"{scale.x(at)},{scale.y(value)}" for at, value in run]
    return " ".join(points if len(points) > 1 else 2 * points)  # one point alone is still drawn, as a dot
