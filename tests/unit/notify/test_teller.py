from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from rollbackd.model.decision import Action
from rollbackd.model.incident import Incident, Outcome, Phase, Severity
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
        self.told: list[tuple[str, Severity, str, Mapping[str, str]]] = []

    def tell(self, incident_id: str, severity: Severity, text: str, tags: Mapping[str, str]) -> None:
        self.told.append((incident_id, severity, text, tags))


@pytest.mark.parametrize(("severity", "level"), [(Severity.INFO, "info"), (Severity.WARNING, "warning"), (Severity.CRITICAL, "critical")])
async def test_everything_is_logged_at_its_level(severity: Severity, level: str) -> None:
    with capture_logs() as logged:
        await Teller().tell(INCIDENT, severity, "api: failed")

    assert logged == [{"event": "api: failed", "log_level": level, "incident": INCIDENT.id, **TAGS}]


@pytest.mark.parametrize("severity", [Severity.WARNING, Severity.CRITICAL])
async def test_sentry_is_told_from_a_warning_on(severity: Severity) -> None:
    sentry = RecordingSentry()

    await Teller(sentry).tell(INCIDENT, severity, "api: failed")

    assert sentry.told == [(INCIDENT.id, severity, "api: failed", TAGS)]


async def test_sentry_is_not_told_what_is_only_information() -> None:
    sentry = RecordingSentry()

    await Teller(sentry).tell(INCIDENT, Severity.INFO, "api: recovered")

    assert sentry.told == []


async def test_what_is_not_known_is_no_tag() -> None:
    sentry = RecordingSentry()

    await Teller(sentry).tell(replace(INCIDENT, decision=None, reason=None, outcome=None), Severity.WARNING, "text")

    assert sentry.told[0][3] == {"service": "api", "phase": "closed"}
