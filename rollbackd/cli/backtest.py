"""`rollbackd backtest`: what would have been decided about past alerts. Offline: it asks Prometheus and release sources, no daemon."""

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rollbackd.backtest import page
from rollbackd.backtest.files import Files, InvalidFilesError, parse_time, read
from rollbackd.backtest.lines import change_line, differ, line, score_line
from rollbackd.backtest.past import PastAlert, Truth
from rollbackd.backtest.prepare import Period, prepared
from rollbackd.backtest.run import OnResult, Result
from rollbackd.backtest.score import FIGURES, Score, Scored, score
from rollbackd.cli.exits import Exit
from rollbackd.cli.options import config_option, json_option
from rollbackd.cli.output import emit_rows, on_terminal
from rollbackd.clock import SystemClock
from rollbackd.decision.record import span
from rollbackd.errors import MisconfiguredError
from rollbackd.model.decision import Action, CheckVerdict
from rollbackd.model.reason import Reason
from rollbackd.settings.effective import Settings
from rollbackd.settings.load import load
from rollbackd.telemetry import logs
from rollbackd.telemetry.redaction import harmless_data, one_line


class Instant(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            return parse_time(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command()
@config_option
@click.option("--alerts", "alerts_path", type=click.Path(path_type=Path), help="Past alerts, JSON Lines; else what Prometheus fired.")
@click.option("--releases", "releases_path", type=click.Path(path_type=Path), help="Past releases, JSON Lines; else the services' sources.")
@click.option("--changes", "changes_path", type=click.Path(path_type=Path), help="Past flags, configs, infrastructure: JSON Lines.")
@click.option("--from", "start", type=Instant(), help="Only alerts from then on: epoch seconds or RFC 3339.")
@click.option("--to", "end", type=Instant(), help="Only alerts up to then.")
@click.option("--score", "is_scored", is_flag=True, help="How often it was right, by the `truth` of each alert.")
@click.option("--together", "is_together", is_flag=True, help="In the order of time, with cooldown, budget and the fleet brake.")
@click.option("--diff", "other_path", metavar="OTHER_CONFIG", type=click.Path(path_type=Path), help="Which decisions would change.")
@click.option("--html", "html_path", metavar="FILE", type=click.Path(path_type=Path), help="Also a page with a chart for each alert.")
@json_option
def backtest(
    *,
    config_path: Path,
    alerts_path: Path | None,
    releases_path: Path | None,
    changes_path: Path | None,
    start: datetime | None,
    end: datetime | None,
    other_path: Path | None,
    html_path: Path | None,
    is_scored: bool,
    is_together: bool,
    as_json: bool,
) -> int:
    """What would have been decided about past alerts: the same decision, seeing only what was known by then.

    Exits with 0 whatever was decided.
    """
    if html_path is not None and not html_path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no directory {html_path.absolute().parent}", param_hint="--html")
    if start is not None and end is not None and start > end:
        raise click.BadParameter("it is before --from: no alert lies between them", param_hint="--to")
    configs = [load(path).settings for path in (config_path, other_path) if path is not None]
    try:
        files = read(alerts_path, releases_path, changes_path)
    except InvalidFilesError as error:
        for problem in error.problems:
            _say(str(problem))
        return Exit.USAGE
    for warning in files.warnings:
        _say(str(warning))
    if releases_path is None:
        logs.set_up()  # commands of release sources are run, and what goes wrong with them is logged
    period = Period(start=start, end=end)
    watching = Watching(
        tell=(lambda result: _print_line(line(result))) if as_json and other_path is None else _nothing,
        keeps_evidence=html_path is not None,
        has_bar=sys.stderr.isatty() and not (as_json and on_terminal()),  # lines of data and a bar in one place are neither
    )
    runs = asyncio.run(_run(configs, files, period, watching, is_together=is_together))
    scores = [_scored(results, files.truths) for results in runs] if is_scored else []
    if html_path is not None:
        _write_page(html_path, runs, scores, files.truths)
    if as_json:
        _print_rest(runs, scores)
    else:
        _print_rows(runs, scores, files.truths)
    return Exit.FINE


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """What is done with each result as it comes. The evidence of very many alerts is large, and only a page asks for it."""

    tell: OnResult
    keeps_evidence: bool
    has_bar: bool


async def _run(configs: Sequence[Settings], files: Files, period: Period, watching: Watching, *, is_together: bool) -> list[list[Result]]:
    """The results under each config, of the same alerts: those that the first one finds."""
    alerts: tuple[PastAlert, ...] | None = None
    runs: list[list[Result]] = []
    for settings in configs:
        async with prepared(settings, files, period, SystemClock(), alerts=alerts) as ready:
            alerts = ready.alerts
            for warning in ready.warnings:
                _say(f"{settings.path}: {warning}")
            replay = ready.backtest.in_time_order if is_together else ready.backtest.alone
            with _collecting(len(alerts), watching) as (results, on_result):
                await replay(alerts, on_result)
        runs.append(results)
        if unanswered := sum(map(_is_unanswered, results)):
            _say(f"{settings.path}: Prometheus left questions unanswered for {unanswered} of {len(results)} alerts: see their checks")
    return runs


def _write_page(path: Path, runs: Sequence[Sequence[Result]], scores: Sequence[Score], truths: Mapping[str, Truth]) -> None:
    text = page.render(runs[0], truths=truths, score=scores[0] if scores else None, others=runs[1] if len(runs) > 1 else None)
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as e:
        raise MisconfiguredError(f"cannot be written: {e.strerror}", path=str(path)) from e


@contextmanager
def _collecting(total: int, watching: Watching) -> Iterator[tuple[list[Result], OnResult]]:
    """The results as they come, with a bar on stderr."""
    results: list[Result] = []
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("alerts"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not watching.has_bar) as bar:
        task = bar.add_task("", total=total)

        def on_result(result: Result) -> None:
            results.append(result if watching.keeps_evidence else replace(result, evidence=None))
            watching.tell(result)
            bar.advance(task)

        yield results, on_result


def _is_unanswered(result: Result) -> bool:
    silent = (check for check in result.decision.checks if check.name == "answers" and check.verdict is CheckVerdict.UNKNOWN)
    return any(check.reason is Reason.QUERY_FAILED for check in result.decision.checks) or any(silent)


def _nothing(_result: Result) -> None:
    pass


def _scored(results: Iterable[Result], truths: Mapping[str, Truth]) -> Score:
    """Over the alerts of which the truth is known."""
    known = ((result, truths.get(result.alert.id)) for result in results)
    return score(Scored(truth=truth, decision=result.decision.action, took=result.took) for result, truth in known if truth is not None)


def _print_rest(runs: Sequence[Sequence[Result]], scores: Sequence[Score]) -> None:
    """What was not printed as it came: under two configs an alert's line has to wait for the second; the score is last."""
    if len(runs) > 1:
        for result, other in zip(*runs, strict=True):
            _print_line(change_line(result, other))
    if scores:
        _print_line(score_line(*scores))


def _print_line(value: Mapping[str, object]) -> None:
    """One line, also on a terminal: it is JSON Lines."""
    click.echo(orjson.dumps(harmless_data(value)).decode())


def _print_rows(runs: Sequence[Sequence[Result]], scores: Sequence[Score], truths: Mapping[str, Truth]) -> None:
    if len(runs) > 1:
        _print_changes(*runs)
    else:
        _print_table(runs[0], truths)
    _print_scores(scores)


def _print_table(results: Sequence[Result], truths: Mapping[str, Truth]) -> None:
    columns = ("service", "decision", "reason", "after", "suspect", "target", *(("truth",) if truths else ()), "alert")
    emit_rows(columns, (_row(result, truths) for result in results), empty="no alerts")
    decisions = Counter(result.decision.action for result in results)
    _say(f"{len(results)} alerts: " + ", ".join(f"{decisions[action]} {action.replace('_', ' ')}" for action in Action))


def _row(result: Result, truths: Mapping[str, Truth]) -> tuple[str | None, ...]:
    decision = result.decision
    named = (release.version if release else None for release in (decision.suspect, decision.target))
    truth = truths.get(result.alert.id)
    told = (truth.decision if truth else None,) if truths else ()
    return (result.service, decision.action, decision.reason, span(result.took), *named, *told, result.alert.id)


def _print_changes(before: Sequence[Result], after: Sequence[Result]) -> None:
    changed = [(one, two) for one, two in zip(before, after, strict=True) if differ(one, two)]
    columns = ("service", "decision", "reason", "target", "decision then", "reason then", "target then", "alert")
    emit_rows(
        columns,
        ((one.service or two.service, *_decided(one), *_decided(two), one.alert.id) for one, two in changed),
        empty="no decision changes",
    )
    _say(f"{len(changed)} of {len(before)} decisions change")


def _decided(result: Result) -> tuple[str | None, ...]:
    decision = result.decision
    return decision.action, decision.reason, decision.target.version if decision.target else None


def _print_scores(scores: Sequence[Score]) -> None:
    """The whole, then each scenario; with two configs the first one's, then the other's."""
    for one in scores:
        if on_terminal():
            click.echo()
        headings = ("scenario", *(figure.replace("_", " ") for figure in FIGURES))
        emit_rows(headings, (_figures(name, each) for name, each in {"all": one, **one.by_scenario}.items()), empty="")


def _figures(name: str, one: Score) -> tuple[str | None, ...]:
    return (name, *(None if figure is None else f"{figure:.4g}" for figure in one.figures.values()))


def _say(text: str) -> None:
    click.echo(one_line(text), err=True)
