from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from rollbackd.errors import TemporaryError
from rollbackd.model.decision import Action
from rollbackd.model.incident import Incident, Outcome, Phase, Severity
from rollbackd.model.message import Message, Topic
from rollbackd.model.policy import Mode
from rollbackd.model.reason import Reason
from rollbackd.notify.sentry import Sentry
from rollbackd.notify.teller import Teller

INCIDENT = Incident(
    id="20260131-120000-7f3a",
    service="api",
    trigger="HighErrorRate",
    phase=Phase.CLOSED,
    mode=Mode.AUTO,
    snapshot="s",
    opened_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
    decision=Action.ROLL_BACK,
    reason=Reason.STEP_FAILED,
    outcome=Outcome.FAILED,
)
TAGS = {"service": "api", "phase": "closed", "decision": "roll_back", "reason": "step_failed", "outcome": "failed"}


class RecordingSentry(Sentry):
    def __init__(self) -> None:
        self.told: list[tuple[Severity, str, Mapping[str, str]]] = []

    def tell(self, _service: str, severity: Severity, text: str, tags: Mapping[str, str]) -> None:
        self.told.append((severity, text, tags))


@pytest.mark.parametrize(("severity", "level"), [(Severity.INFO, "info"), (Severity.WARNING, "warning"), (Severity.CRITICAL, "critical")])
async def test_everything_is_logged_at_its_level(severity: Severity, level: str) -> None:
    with capture_logs() as logged:
        await Teller().tell(INCIDENT, severity, "api: failed")

    assert logged == [{"event": "api: failed", "log_level": level, "incident": INCIDENT.id, **TAGS}]


async def test_sentry_has_one_event_of_an_incident_with_its_outcome_and_versions() -> None:
    sentry = RecordingSentry()
    asked = replace(INCIDENT, phase=Phase.ESCALATED, outcome=None)
    ended = replace(INCIDENT, suspect="v2", target="v1")

    await Teller(sentry).tell(asked, Severity.WARNING, "api: a person is needed")
    await Teller(sentry).tell(ended, Severity.CRITICAL, "api: failed")

    tags = {**TAGS, "incident": INCIDENT.id, "suspect": "v2", "target": "v1"}
    assert sentry.told == [(Severity.CRITICAL, "api: failed", tags)]


@pytest.mark.parametrize(("ran", "events"), [(True, 1), (False, 0)])
async def test_sentry_hears_of_a_good_end_where_something_was_run(*, ran: bool, events: int) -> None:
    sentry = RecordingSentry()
    ended = replace(INCIDENT, outcome=Outcome.RECOVERED, rollback_started_at=INCIDENT.opened_at if ran else None)

    await Teller(sentry).tell(ended, Severity.INFO, "api: recovered")

    assert len(sentry.told) == events


async def test_sentry_hears_of_a_bad_release_that_is_back() -> None:
    sentry = RecordingSentry()

    await Teller(sentry).tell(replace(INCIDENT, outcome=None), Severity.CRITICAL, "api: v2 is back", Topic.BAD_IS_BACK)

    assert [text for _, text, _ in sentry.told] == ["api: v2 is back"]


async def test_the_channels_come_first_and_what_they_cannot_be_given_is_told_again() -> None:
    sentry, put = RecordingSentry(), []

    async def post(message: Message) -> None:
        put.append(message)
        raise TemporaryError("the disk is full")

    with pytest.raises(TemporaryError):
        await Teller(sentry, post).tell(INCIDENT, Severity.CRITICAL, "api: failed")

    assert [(one.topic, one.incident, one.text) for one in put] == [(Topic.CLOSED, INCIDENT.id, "api: failed")]
    assert sentry.told == []


async def test_what_is_not_known_is_no_tag() -> None:
    sentry = RecordingSentry()

    await Teller(sentry).tell(replace(INCIDENT, decision=None, reason=None), Severity.WARNING, "text")

    assert sentry.told[0][2] == {"service": "api", "phase": "closed", "outcome": "failed", "incident": INCIDENT.id}
