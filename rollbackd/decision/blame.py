"""Is the service's own recent release the cause?

An exoneration that fails lets the release go; it comes before the guards. The proofs come last, so that no guard hides behind
"inconclusive": of the two roads to blame either is enough.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from rollbackd.decision.answers import ANSWERS
from rollbackd.decision.exoneration import EXONERATIONS
from rollbackd.decision.facts import Facts
from rollbackd.decision.proof import BEFORE_AND_AFTER, SIDE_BY_SIDE
from rollbackd.decision.record import Rule, ask_all, stands_in_the_way
from rollbackd.model.decision import Blame, Check, CheckVerdict
from rollbackd.model.release import Release

PROOFS: Final = (ANSWERS, SIDE_BY_SIDE, *BEFORE_AND_AFTER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """Which release is looked at, and what is found of it. `blame` is None when nothing is confirmed, and with `blame: off`."""

    suspect: Release | None
    blame: Blame | None
    exonerations: tuple[Check, ...]
    proofs: tuple[Check, ...]


def judge_release(facts: Facts) -> Suspicion:
    """Without a confirmed breach the suspect is the release that a breach now would point to."""
    if not facts.policy.blame:
        return _not_judged(next(iter(facts.releases), None), "blame is off: a confirmed trigger is enough", facts.now)
    if not facts.finding.confirmed:
        return _not_judged(facts.suspect, "no trigger is confirmed, so nothing is known to have begun", facts.now)
    exonerations = ask_all(EXONERATIONS, facts, facts.now)
    proofs = _proofs(facts)
    if any(map(stands_in_the_way, exonerations)):
        blame = Blame.EXONERATED
    elif any(map(stands_in_the_way, proofs)):
        blame = Blame.INCONCLUSIVE
    else:
        blame = Blame.TO_BLAME
    return Suspicion(suspect=facts.suspect or facts.newest, blame=blame, exonerations=exonerations, proofs=proofs)


def _proofs(facts: Facts) -> tuple[Check, ...]:
    """Where the two versions side by side have said it, the other road is recorded and stands in nobody's way."""
    answers, beside, *others = ask_all(PROOFS, facts, facts.now)
    if beside.verdict is CheckVerdict.PASSED:
        others = [replace(one, verdict=CheckVerdict.NOT_APPLICABLE) if stands_in_the_way(one) else one for one in others]
    return answers, beside, *others


def _not_judged(suspect: Release | None, why: str, now: datetime) -> Suspicion:
    def skipped(rules: Iterable[Rule[Facts]]) -> tuple[Check, ...]:
        return tuple(rule.unasked(CheckVerdict.NOT_APPLICABLE, why, now) for rule in rules)

    return Suspicion(suspect=suspect, blame=None, exonerations=skipped(EXONERATIONS), proofs=skipped(PROOFS))
