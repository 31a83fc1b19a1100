"""Results as one page for people who decide whether to trust it: figures, then each alert with its chart and its record.

Everything is autoescaped, and text from outside is made harmless first (I11, I13). The page loads nothing and has no
script, and says so to the browser.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

from markupsafe import Markup

from rollbackd import __version__
from rollbackd.backtest.chart import HEIGHT, WIDTH, Chart, draw
from rollbackd.backtest.lines import differ
from rollbackd.backtest.past import Truth
from rollbackd.backtest.run import Result
from rollbackd.backtest.score import FIGURES, Score
from rollbackd.decision.record import clock_time, span, stands_in_the_way
from rollbackd.model.decision import Action, Check
from rollbackd.telemetry.redaction import harmless

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One alert. `deciding` is the check that stands in the way, if one does; `other` what another config decides, if that differs."""

    result: Result
    truth: Truth | None
    deciding: Check | None
    chart: Chart | None
    other: Result | None


def render(results: Sequence[Result], *, truths: Mapping[str, Truth], score: Score | None, others: Sequence[Result] | None = None) -> str:
    compared = others or results
    sections = [
        Section(
            result=one,
            truth=truths.get(one.alert.id),
            deciding=next(filter(stands_in_the_way, one.decision.checks), None),
            chart=draw(one),
            other=two if differ(one, two) else None,
        )
        for one, two in zip(results, compared, strict=True)
    ]
    counts = [(action, sum(one.decision.action is action for one in results)) for action in Action]
    scores = {"all": score, **score.by_scenario} if score is not None else {}
    return (
        _environment()
        .get_template("backtest.html")
        .render(
            sections=sections,
            counts=counts,
            scores=scores,
            figures=FIGURES,
            changes=sum(section.other is not None for section in sections) if others is not None else None,
            width=WIDTH,
            height=HEIGHT,
            version=__version__,
        )
    )


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - only who asks for a page waits for it

    environment = Environment(
        loader=PackageLoader("rollbackd.backtest"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(words=lambda code: str(code).replace("_", " "), moment=_moment, span=span, figure=_figure)
    return environment


def _finalize(value: object) -> object:
    if value is None:
        return "—"
    return harmless(str(value), lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def _moment(instant: datetime | None) -> str | None:
    return None if instant is None else clock_time(instant)


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
