import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rollbackd.backtest.files import Files, InvalidFilesError, parse_time, read
from rollbackd.backtest.past import PastAlert, Recorded, Truth
from rollbackd.model.change import Change, ChangeKind
from rollbackd.model.decision import Action
from rollbackd.model.release import ReleaseKind, ReleaseStatus

AT = datetime(2023, 9, 22, 14, 41, tzinfo=UTC)
ALERT: dict[str, Any] = {"id": "a1", "at": AT.timestamp(), "alertname": "HighErrorRate", "labels": {"service": "api"}}
RELEASE: dict[str, Any] = {"service": "api", "version": "v2", "started_at": AT.timestamp()}
CHANGE: dict[str, Any] = {"service": "api", "kind": "flag", "what": "checkout_v2 on", "at": AT.timestamp()}


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture
def alerts(tmp_path: Path) -> Path:
    return tmp_path / "alerts.jsonl"


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    return tmp_path / "releases.jsonl"


def recorded(path: Path, *rows: object) -> Recorded:
    past = read(None, written(path, *rows)).releases
    assert past is not None
    return past.by_service["api"]


def problems(alerts: Path | None, releases: Path | None) -> list[str]:
    with pytest.raises(InvalidFilesError) as failed:
        read(alerts, releases)
    return [str(problem).removeprefix(f"{(alerts or releases or Path()).parent}/") for problem in failed.value.problems]


def test_an_alert_and_what_a_person_says_of_it(alerts: Path) -> None:
    files = read(
        written(alerts, {**ALERT, "truth": "roll_back", "scenario": "bad code", "why": "injected"}, "", {**ALERT, "id": "a2"}), None
    )
    assert files == Files(
        alerts=tuple(PastAlert(id=name, at=AT, name="HighErrorRate", labels={"service": "api"}) for name in ("a1", "a2")),
        truths={"a1": Truth(decision=Action.ROLL_BACK, scenario="bad code")},
    )


def test_nothing_that_a_person_says_is_part_of_the_alert(alerts: Path) -> None:
    told = read(written(alerts, {**ALERT, "truth": "hold", "scenario": "noise", "why": "quiet"}), None)
    untold = read(written(alerts, ALERT), None)
    assert told.alerts == untold.alerts


@pytest.mark.parametrize("at", [AT.timestamp(), "2023-09-22T14:41:00Z", "2023-09-22T16:41:00.000+02:00", str(int(AT.timestamp()))])
def test_a_time_is_epoch_seconds_or_rfc_3339(at: object) -> None:
    assert parse_time(at) == AT


@pytest.mark.parametrize("at", [1_695_393_660_000, -1, True, "yesterday", "2023-09-22T14:41:00", None, [], {}])
def test_what_is_no_time_says_what_to_write(at: object) -> None:
    with pytest.raises(ValueError, match="write epoch seconds, or RFC 3339 such as"):
        parse_time(at)


def test_the_name_may_stand_among_the_labels(alerts: Path) -> None:
    without = {key: value for key, value in ALERT.items() if key != "alertname"}
    files = read(written(alerts, {**without, "labels": {"alertname": "SlowResponse", "service": "api"}}), None)
    assert files.alerts is not None
    assert files.alerts[0].name == "SlowResponse"
    assert files.alerts[0].routed_by == {"alertname": "SlowResponse", "service": "api"}


def test_every_error_of_both_files_at_once_with_its_line(alerts: Path, releases: Path) -> None:
    written(
        alerts,
        ALERT,
        "{oops",
        [ALERT],
        {"at": "soon", "labels": {"code": 500}},
        {**ALERT, "truth": "rollback", "id": 7.5},
        ALERT,
    )
    written(
        releases,
        {"version": "v1;rm", "started_at": 5},
        {**RELEASE, "live_at": AT.timestamp() - 1, "status": "done", "irreversible": "no"},
        {**RELEASE, "artifact": "-x", "version": 1.5},
    )
    assert problems(alerts, releases) == [
        "alerts.jsonl:2: is not JSON, write one object a line: unexpected character, expected a string key",
        'alerts.jsonl:3: [{"id":"a1","at":1695393660.0,"alertn... is not a JSON object: write one object a line',
        "alerts.jsonl:4: 'id' is missing",
        "alerts.jsonl:4: 'labels' is {\"code\":500}: write an object of texts",
        "alerts.jsonl:4: 'at': \"soon\" is not a time: write epoch seconds, or RFC 3339 such as 2026-01-31T12:00:00Z",
        "alerts.jsonl:4: 'alertname' is missing",
        "alerts.jsonl:5: 'id' is 7.5: write it in quotes",
        "alerts.jsonl:5: 'truth' is \"rollback\": write roll_back or hold",
        "alerts.jsonl:6: id 'a1' stands twice: give each alert its own",
        "releases.jsonl:1: version 'v1;rm': begin with a letter or digit, then letters, digits and ._:/@+- only, 256 characters at most",
        "releases.jsonl:1: 'service' is missing",
        "releases.jsonl:2: 'status' is \"done\": write rolling or live or failed",
        "releases.jsonl:2: 'live_at' lies before 'started_at': a release is live after it started",
        "releases.jsonl:2: 'irreversible' is \"no\": write true or false",
        "releases.jsonl:3: 'version' is 1.5: write it in quotes",
        "releases.jsonl:3: artifact '-x': begin with a letter or digit, then letters, digits and ._:/@+- only, 256 characters at most",
    ]


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    assert problems(tmp_path / "nope.jsonl", None) == ["nope.jsonl: cannot be read: No such file or directory"]


def test_a_name_that_is_not_read_is_told_once(alerts: Path) -> None:
    files = read(written(alerts, ALERT, {**ALERT, "id": "a2", "lables": {}}, {**ALERT, "id": "a3", "lables": {}}), None)
    assert [str(warning) for warning in files.warnings] == [f'{alerts}:2: "lables" is not read, here or further down']


def test_a_release_says_as_little_as_it_may(releases: Path) -> None:
    (release,) = recorded(releases, RELEASE).releases
    assert (release.artifact, release.live_at, release.status, release.irreversible) == ("v2", AT, ReleaseStatus.LIVE, False)


def test_deployed_at_stands_for_both_times(releases: Path) -> None:
    (release,) = recorded(releases, {"service": "api", "version": 17, "deployed_at": AT.timestamp()}).releases
    assert (release.version, release.started_at, release.live_at) == ("17", AT, AT)


def test_a_release_says_all_that_it_may(releases: Path) -> None:
    told = {"artifact": "image:2", "live_at": AT.timestamp() + 6, "irreversible": True, "group": "g", "schema": 4, "kind": "rollback"}
    (release,) = recorded(releases, {**RELEASE, **told}).releases
    assert (release.live_at, release.kind) == (AT + timedelta(seconds=6), ReleaseKind.ROLLBACK)
    assert (release.artifact, release.irreversible, release.group, release.schema) == ("image:2", True, "g", "4")


@pytest.mark.parametrize("status", ["rolling", "failed"])
def test_what_did_not_go_live_has_no_time_of_it(releases: Path, status: str) -> None:
    (release,) = recorded(releases, {**RELEASE, "status": status, "live_at": AT.timestamp() + 6}).releases
    assert (release.status, release.live_at) == (status, None)


def test_what_became_of_a_release_later_is_not_read(releases: Path) -> None:
    assert recorded(releases, {**RELEASE, "mark": "bad", "mark_reason": "broke"}) == recorded(releases, RELEASE)


def test_of_two_releases_at_once_the_later_line_is_the_newer_one(releases: Path) -> None:
    rows = [{**RELEASE, "version": version} for version in ("v2", "v3")]
    older = {**RELEASE, "version": "v1", "started_at": AT.timestamp() - 60}
    assert [one.version for one in recorded(releases, *rows, older).releases] == ["v3", "v2", "v1"]


def test_the_same_release_told_twice_is_one(releases: Path) -> None:
    assert [one.artifact for one in recorded(releases, RELEASE, {**RELEASE, "artifact": "other"}).releases] == ["v2"]


def test_changes_by_service_newest_first_and_each_once(tmp_path: Path) -> None:
    sooner = {**CHANGE, "at": AT.timestamp() - 60, "kind": "infra", "what": "node pool", "by": "ops"}
    past = read(None, None, written(tmp_path / "changes.jsonl", sooner, CHANGE, CHANGE, {**CHANGE, "service": "web"})).changes
    flag = Change(service="api", kind=ChangeKind.FLAG, what="checkout_v2 on", at=AT)
    pool = Change(service="api", kind=ChangeKind.INFRA, what="node pool", at=AT - timedelta(minutes=1), by="ops")
    assert past is not None
    assert past.of_service("api", AT - timedelta(hours=1), AT) == (flag, pool)
    assert past.of_service("api", AT - timedelta(hours=1), AT - timedelta(seconds=1)) == (pool,)
    assert past.of_service("api", AT, AT) == (flag,)
    assert past.of_service("nobody", AT - timedelta(hours=1), AT) == ()


def test_every_error_of_the_changes_with_its_line(tmp_path: Path) -> None:
    path = written(tmp_path / "changes.jsonl", {"service": "api"}, {**CHANGE, "kind": "deploy", "at": "soon"}, {**CHANGE, "whom": "x"})
    with pytest.raises(InvalidFilesError) as failed:
        read(None, None, path)
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in failed.value.problems] == [
        "changes.jsonl:1: 'kind' is missing: write flag or config or infra",
        "changes.jsonl:1: 'what' is missing",
        "changes.jsonl:1: 'at' is missing",
        "changes.jsonl:2: 'kind' is \"deploy\": write flag or config or infra",
        "changes.jsonl:2: 'at': \"soon\" is not a time: write epoch seconds, or RFC 3339 such as 2026-01-31T12:00:00Z",
    ]
