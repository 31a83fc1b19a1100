"""Is a trigger really breached, now and for long enough? Only fresh positive evidence says yes (I3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, islice
from statistics import median
from typing import Final

from rollbackd.decision.compare import stretch, traffic
from rollbackd.decision.judge import Judged, judge, judge_steps
from rollbackd.decision.onset import Onset, find_onset
from rollbackd.decision.record import span
from rollbackd.model.decision import AlertFacts, Check, CheckVerdict
from rollbackd.model.measurement import IndicatorEvidence, PooledCounts, Verdict
from rollbackd.model.policy import ServicePolicy, Trigger
from rollbackd.model.reason import Reason
from rollbackd.model.release import Release

LATE_DELIVERY: Final = timedelta(minutes=5)
BASELINE_SAMPLES: Final = 10
KNOWN_AT_MOST: Final = timedelta(hours=24)
"""As long as an incident may be re-opened."""
READINGS_AT_MOST: Final = 11_000
"""Of one indicator in one look: Prometheus refuses a range with more steps."""
_SEVERITIES: Final = {"critical": 2, "warning": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What the evidence says of one trigger. `reason` is CONFIRMED, NOT_CONFIRMED, HEALTHY or UNKNOWN; `check` says why.

    `verdict` is that of the last step; only a confirmed finding has an onset. `step` is how far apart the readings lie.
    """

    trigger: Trigger
    reason: Reason
    verdict: Verdict
    value: float | None
    limit: float | None
    onset: Onset | None
    step: timedelta
    baseline: float | None
    check: Check

    @property
    def confirmed(self) -> bool:
        return self.reason is Reason.CONFIRMED


def sight(policy: ServicePolicy, trigger: Trigger, known_for: timedelta = timedelta(0)) -> timedelta:
    """How far back the onset is looked for, of an alert that came so long ago.

    What could be seen when it came stays in sight while an incident waits, is asked about or is re-opened: time alone must not make a
    release innocent.
    """
    at_once = policy.blame_window + trigger.hold_for
    room = (READINGS_AT_MOST - 1) * policy.scrape_interval - at_once - _beyond(policy, trigger)
    return at_once + max(min(known_for, KNOWN_AT_MOST, room), timedelta(0))


def lookback(policy: ServicePolicy, trigger: Trigger, known_for: timedelta = timedelta(0)) -> timedelta:
    """How far back readings are needed: for the onset, and for the baseline of a release at the far end of the blame window."""
    return sight(policy, trigger, known_for) + _beyond(policy, trigger)


def _beyond(policy: ServicePolicy, trigger: Trigger) -> timedelta:
    return policy.baseline + trigger.indicator.window if trigger.is_relative else timedelta(0)


def confirm(  # noqa: PLR0917 - each is a thing of its own kind, and the types tell them apart
    trigger: Trigger,
    evidence: IndicatorEvidence,
    alert: AlertFacts,
    policy: ServicePolicy,
    releases: Sequence[Release],
    now: datetime,
) -> Finding:
    """Confirmed: over the last `for`, the last step is breached, four of five steps are, and so are the pooled counts."""
    baseline = _baseline(trigger, evidence, alert, policy, releases) if trigger.is_relative else None
    steps = judge_steps(trigger, evidence, baseline=baseline, now=now, back=sight(policy, trigger, now - alert.delivered_at))
    held = tuple(islice(steps, trigger.hold_for // evidence.step + 1))
    last, onset = held[0], find_onset(chain(held, steps))
    evidence = _with_enough(trigger, evidence, onset.at, releases, now)
    missing = _missing(trigger, evidence, alert, last)
    if missing is not None:
        reason = Reason.UNKNOWN
    elif last.verdict is Verdict.HEALTHY:
        reason = Reason.HEALTHY
    elif _mostly_breached(held) and _pooled_breached(trigger, evidence.pooled, baseline):
        reason = Reason.CONFIRMED
    else:
        reason = Reason.NOT_CONFIRMED
    return Finding(
        trigger=trigger,
        reason=reason,
        verdict=last.verdict if missing is None else Verdict.UNKNOWN,
        value=last.value,
        limit=_limit(trigger, baseline),
        onset=onset if reason is Reason.CONFIRMED else None,
        step=evidence.step,
        baseline=baseline,
        check=Check(
            name=f"trigger {trigger.name}",
            verdict=_CHECK_VERDICTS.get(reason, CheckVerdict.FAILED),
            reason=missing or reason,
            at=now,
            query=evidence.query,
            value=_value_in_words(trigger, evidence, held),
            limit=_limit_in_words(trigger, baseline, len(held)),
            sample_time=evidence.newest_sample_at,
        ),
    )


_CHECK_VERDICTS: Final = {Reason.CONFIRMED: CheckVerdict.PASSED, Reason.UNKNOWN: CheckVerdict.UNKNOWN}


def carrying(findings: Sequence[Finding], alert: AlertFacts) -> Finding:
    """The one finding that the decision rests on: the most severe confirmed one, else the most severe breached one, else the alert's own.

    So the own trigger's health decides only when no other trigger is breached. Equals: the alert's own, then the policy's order.
    """

    def weight(finding: Finding) -> tuple[bool, bool, int, bool]:
        breached = finding.verdict is Verdict.BREACHED
        severity = _SEVERITIES.get(finding.trigger.severity, 0) if breached else 0
        return finding.confirmed, breached, severity, finding.trigger.name == alert.trigger

    return max(findings, key=weight)


def _missing(trigger: Trigger, evidence: IndicatorEvidence, alert: AlertFacts, last: Judged) -> Reason | None:
    """What keeps the evidence from saying anything about now; None when it is whole."""
    if last.verdict is Verdict.UNKNOWN:
        return last.reason
    if last.at < alert.starts_at:
        return Reason.CLOCK_SKEW
    late = alert.delivered_at - alert.starts_at > LATE_DELIVERY
    if late and (evidence.newest_sample_at is None or evidence.newest_sample_at <= alert.delivered_at):
        return Reason.NOT_SCRAPED_SINCE_DELIVERY
    return _missing_counts(trigger, evidence.pooled)


def _missing_counts(trigger: Trigger, pooled: PooledCounts | None) -> Reason | None:
    """A ratio needs both of its counts, a value only the traffic behind it. `increase` extrapolates, so a count is rounded first."""
    is_ratio = trigger.indicator.is_ratio
    if not is_ratio and not trigger.min_requests:
        return None
    if pooled is None or pooled.total is None or (is_ratio and pooled.bad is None):
        return (pooled and pooled.reason) or Reason.NO_SERIES
    return Reason.LOW_TRAFFIC if round(pooled.total) < max(trigger.min_requests, 1) else None


def _with_enough(
    trigger: Trigger, evidence: IndicatorEvidence, onset: datetime | None, releases: Sequence[Release], now: datetime
) -> IndicatorEvidence:
    """Where there is little traffic the counts are pooled for longer: back to the onset, at most to the newest release."""
    if _missing_counts(trigger, evidence.pooled) is not Reason.LOW_TRAFFIC or evidence.pooled is None or onset is None:
        return evidence
    start = max([onset, *(release.started_at for release in releases[:1] if release.started_at <= now)])
    if trigger.indicator.is_ratio:
        since = stretch(trigger, evidence.readings, start=start, end=now)
        bad, total = float(since.bad), float(since.total)
    else:
        bad, total = None, sum(count for at, count in traffic(evidence.readings, trigger.indicator.window) if start <= at)
    if round(total) <= round(evidence.pooled.total or 0):
        return evidence
    return replace(evidence, pooled=replace(evidence.pooled, window=now - start, bad=bad, total=total))


def _mostly_breached(steps: Sequence[Judged]) -> bool:
    return _breached(steps) >= needed(len(steps))


def _breached(steps: Sequence[Judged]) -> int:
    return sum(step.verdict is Verdict.BREACHED for step in steps)


def needed(steps: int) -> int:
    """How many of them must be breached for a breach that stood, be it now, before a release or on another day: 80 %, rounded up."""
    return -(-steps * 4 // 5)


def _pooled_breached(trigger: Trigger, pooled: PooledCounts | None, baseline: float | None) -> bool:
    """A value indicator pools its traffic only; there is nothing more to ask."""
    if not trigger.indicator.is_ratio:
        return True
    ratio = _ratio(pooled)
    return ratio is not None and judge(trigger, ratio, baseline=baseline)[0] is Verdict.BREACHED


def _ratio(pooled: PooledCounts | None) -> float | None:
    if pooled is None or pooled.bad is None or not pooled.total:
        return None
    return pooled.bad / pooled.total


def _baseline(
    trigger: Trigger, evidence: IndicatorEvidence, alert: AlertFacts, policy: ServicePolicy, releases: Sequence[Release]
) -> float | None:
    """What was usual before the newest release that came within `blame_window` before the alert, else before the breach."""
    ages = [alert.starts_at - release.started_at for release in releases]
    recent = [age for age in ages if timedelta(0) <= age <= policy.blame_window]
    end = alert.starts_at - min(recent, default=trigger.hold_for + trigger.indicator.window)
    return usual(evidence, end - policy.baseline, end)


def usual(evidence: IndicatorEvidence, start: datetime, end: datetime) -> float | None:
    """The median of what was measured between; None when that is too little to call it usual."""
    between = [one.value for one in evidence.readings if one.value is not None and not one.newborn and start <= one.at < end]
    return median(between) if len(between) >= BASELINE_SAMPLES else None


def _limit(trigger: Trigger, baseline: float | None) -> float | None:
    if trigger.is_relative and baseline is None:
        return None
    return trigger.breach.limit(baseline=baseline, at_least=trigger.at_least)


def _value_in_words(trigger: Trigger, evidence: IndicatorEvidence, held: Sequence[Judged]) -> str:
    value = held[0].value
    told = [evidence.detail or "not measured" if value is None else f"{value:.4g} now"]
    pooled, ratio = evidence.pooled, _ratio(evidence.pooled)
    if pooled is not None and pooled.total is not None:
        share = f"{100 * ratio:.1f} % of " if trigger.indicator.is_ratio and ratio is not None else ""
        told.append(f"{share}{pooled.total:,.0f} requests over {span(pooled.window)}")
    told.append(f"breached in {_breached(held)} of {len(held)} measurements")
    return "; ".join(told)


def _limit_in_words(trigger: Trigger, baseline: float | None, steps: int) -> str:
    told = [str(trigger.breach)]
    if baseline is not None:
        told = [f"{trigger.breach} the baseline of {baseline:.4g}, that is {_limit(trigger, baseline):.4g}"]
        if baseline <= 0 and trigger.at_least is None:
            told = [f"{trigger.breach} the baseline of {baseline:.4g}, which limits nothing: set at_least"]
    if trigger.min_requests:
        told.append(f"at least {trigger.min_requests:,} requests")
    told.append(f"now and in {needed(steps)} of {steps} measurements over {span(trigger.hold_for)}")
    return "; ".join(told)
