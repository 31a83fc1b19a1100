import json
from dataclasses import replace

from rollbackd.clock import rfc3339
from rollbackd.flow.courier import Delivery
from rollbackd.model.attempt import AttemptStatus
from rollbackd.model.decision import PauseFacts
from rollbackd.model.incident import Phase
from rollbackd.model.readiness import Readiness, ReadinessCheck, ReadinessVerdict
from rollbackd.web import readiness, views
from rollbackd.web.deps import DaemonStatus
from rollbackd.web.shapes import ConfigShape
from tests.unit.web.samples import ATTEMPTS, BLAMED, LOOKS, NOW, PLAN, POLICY, TIMELINE, V1, V2, after, incident, recovered

FIXED = {
    *("id", "service", "trigger", "phase", "decision", "reason", "blame", "outcome", "mode"),
    *("opened_at", "closed_at", "suspect", "target", "attempts"),
}
"""The fields of an incident in the public interface."""

IN_USE: ConfigShape = {
    "file": "/etc/rollbackd/rollbackd.yaml",
    "in_use_since": "2026-01-31T12:00:00.000Z",
    "refused_at": None,
    "problems": [],
    "gone": [],
}
READY = Readiness(service="checkout", at=NOW, checks=(ReadinessCheck(name="target", verdict=ReadinessVerdict.READY, detail="v2 to v1"),))
DELIVERY = Delivery(channel="chat", waiting=2, oldest=NOW, delivered_at=None, error="it answered HTTP 503")


def test_an_incident_in_a_list_has_the_fixed_fields_and_no_checks() -> None:
    shown = views.listed(incident(), ATTEMPTS)
    assert shown.keys() >= FIXED
    assert "checks" not in shown
    assert "output" not in shown["attempts"][0]


def test_a_single_incident_has_its_checks_and_is_json() -> None:
    shown = views.record(recovered(), decision=BLAMED, attempts=ATTEMPTS, looks=LOOKS, timeline=TIMELINE)
    assert shown.keys() >= FIXED | {"checks"}
    assert json.loads(json.dumps(shown)) == shown
    assert set(shown["checks"][0]) == {"name", "verdict", "reason", "query", "value", "limit", "sample_time", "at"}
    assert shown["attempts"][1]["output"] == "deployed shop:v1\n"
    assert shown["looks"][1]["objectives"][0] == {
        "name": "error_rate",
        "indicator": "error_rate",
        "verdict": "unknown",
        "value": None,
        "limit": "< 0.005",
        "reason": "no_series",
    }


def test_instants_are_rfc_3339_in_utc_and_null_where_there_is_none() -> None:
    shown = views.listed(incident(), ())
    assert shown["opened_at"] == "2026-01-31T12:00:00.000Z"
    assert shown["closed_at"] is None


def test_an_attempt_says_what_was_run_and_how_it_ended() -> None:
    shown = views.attempt(ATTEMPTS[0])
    assert (shown["argv"], shown["status"], shown["exit_code"]) == (["deploy", "--image", "shop:v1"], AttemptStatus.FAILED, 3)


def test_a_plan_shows_the_exact_argv_and_what_every_other_step_asks() -> None:
    shown = views.plan(PLAN)
    assert shown["current"] == {"version": "v2", "artifact": "shop:v2"}
    assert shown["target"] == {"version": "v1", "artifact": "shop:v1"}
    assert shown["digest"] == "d1gest"
    assert [(step["kind"], step["argv"], step["text"], step["timeout"]) for step in shown["steps"]] == [
        ("run", ["deploy", "--image", "shop:v1"], ["deploy --image shop:v1"], 300.0),
        ("wait", [], ["until GET http://127.0.0.1:1/healthz answers 200"], 120.0),
        (
            "verify",
            [],
            [
                "error rate: errors{$selector} is < 0.005",
                "database answers: psql -c 'select 1' exits with 0",
                "version: running-version equals v1",
            ],
            120.0,
        ),
    ]


def test_a_service_shows_its_newest_live_release_and_its_open_incident() -> None:
    shown = views.service(POLICY, pause_facts=PauseFacts(), open_incident=incident(), releases=(V2, V1), ready=READY)
    assert (shown["live"], shown["incident"], shown["mode"], shown["runbook"]) == ("v2", "20260131-120000-7f3a", "auto", "checkout-quick")


def test_a_service_without_a_release_or_an_incident_says_so_with_null() -> None:
    shown = views.service(POLICY, pause_facts=PauseFacts(), open_incident=None, releases=(), ready=READY)
    assert (shown["live"], shown["incident"]) == (None, None)


def test_status_names_what_is_open_and_what_is_paused() -> None:
    daemon = DaemonStatus(started_at=NOW, ready=False, why_not="the store is full", version="0.1.0")
    paused = PauseFacts(paused=True, scope="global", until=after(60), why="maintenance")
    shown = views.status(daemon, IN_USE, (incident(),), (paused,), (READY,), deliveries=(DELIVERY,))
    assert (shown["ready"], shown["why_not"], shown["services"]) == (False, "the store is full", 1)
    assert [one["phase"] for one in shown["incidents_open"]] == [Phase.DECIDING]
    assert shown["notify"] == [
        {"channel": "chat", "waiting": 2, "oldest": rfc3339(NOW), "delivered_at": None, "error": "it answered HTTP 503"}
    ]
    assert shown["pauses"] == [{"scope": "global", "paused": True, "until": "2026-01-31T12:01:00.000Z", "why": "maintenance"}]


def test_a_release_shows_its_mark() -> None:
    assert views.release(V2)["mark"] == "none"


def test_readiness_is_a_verdict_and_the_first_line_of_each_problem() -> None:
    checks = (
        *READY.checks,
        ReadinessCheck(name="command fly", verdict=ReadinessVerdict.NOT_READY, detail="fly: no such command"),
        ReadinessCheck(name="running_version", verdict=ReadinessVerdict.UNKNOWN, detail="no answer"),
    )
    shown = readiness.summary(replace(READY, checks=checks))
    assert shown == {
        "service": "checkout",
        "verdict": "not_ready",
        "at": "2026-01-31T12:00:00.000Z",
        "problems": ["command fly: fly: no such command", "running_version: no answer"],
    }
    assert [one["name"] for one in readiness.in_full(replace(READY, checks=checks))["checks"]] == [
        "target",
        "command fly",
        "running_version",
    ]
