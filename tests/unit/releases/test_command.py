import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rollbackd.errors import PermanentError, TemporaryError
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.model.process import Completed
from rollbackd.model.release import ReleaseStatus
from rollbackd.releases.command import ask, parse
from tests.fakes.policies import service

AT = datetime(2026, 1, 31, 12, tzinfo=UTC)
SOURCE = CommandSource(
    argv=("fly", "releases"),
    items="[]",
    version="Version",
    artifact="ImageRef",
    started_at="CreatedAt",
    status="Status",
    live_when=("complete",),
    failed_when=("failed", "interrupted"),
)


def row(**changes: Any) -> dict[str, Any]:
    return {"Version": 42, "ImageRef": "registry/api:v42", "CreatedAt": "2026-01-31T12:00:00Z", "Status": "complete"} | changes


def completed(stdout: bytes = b"[]", **changes: Any) -> Completed:
    return Completed(**({"exit_code": 0, "signal": None, "stdout": stdout, "stderr": b"", "duration": timedelta(0)} | changes))


def test_a_number_becomes_text_and_a_live_release_was_live_when_it_started() -> None:
    (release,) = parse([row()], "api", SOURCE)
    assert (release.version, release.artifact, release.status) == ("42", "registry/api:v42", ReleaseStatus.LIVE)
    assert release.started_at == release.live_at == AT
    assert release.source == "command"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("complete", ReleaseStatus.LIVE),
        ("failed", ReleaseStatus.FAILED),
        ("interrupted", ReleaseStatus.FAILED),
        ("running", ReleaseStatus.ROLLING),
        (None, ReleaseStatus.ROLLING),
    ],
)
def test_what_is_in_neither_list_is_rolling(status: str | None, expected: ReleaseStatus) -> None:
    (release,) = parse([row(Status=status)], "api", SOURCE)
    assert release.status is expected
    assert (release.live_at is None) is (expected is not ReleaseStatus.LIVE)


def test_epoch_seconds_are_a_time() -> None:
    assert parse([row(CreatedAt=AT.timestamp())], "api", SOURCE)[0].started_at == AT


def test_of_a_list_that_begins_with_the_oldest_the_newest_are_kept() -> None:
    rows = [row(Version=number, CreatedAt=(AT + timedelta(minutes=number)).timestamp()) for number in range(300)]
    assert [one.version for one in parse(rows, "api", SOURCE)] == [str(number) for number in range(299, 99, -1)]


@pytest.mark.parametrize("missing", [None, ""])
def test_a_release_that_failed_before_it_had_an_artifact_spoils_nothing(missing: str | None) -> None:
    failed, live = parse([row(Version=43, ImageRef=missing, Status="failed"), row()], "api", SOURCE)
    assert (failed.artifact, live.artifact) == ("43", "registry/api:v42")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ({"no": "list"}, "is not a list"),
        (["text"], "Version"),
        ([row(Version=None)], "a row has no Version"),
        ([row(CreatedAt=None)], "a row has no CreatedAt"),
        ([row(ImageRef=None)], "a row has no ImageRef"),  # the number of a release is no image to deploy
        ([row(ImageRef="")], "a row has no ImageRef"),
        ([row(ImageRef="--config=/etc/passwd")], "begin with a letter"),
        ([row(Version="$(touch x)")], "begin with a letter"),
        ([row(Version={"deep": 1})], "not a single value"),
        ([row(Version=True)], "neither text nor a number"),
        ([row(Status=True)], "neither text nor a number"),
        ([row(CreatedAt="yesterday")], "yesterday"),
        ([row(CreatedAt="2026-01-31T12:00:00")], "time zone"),
        ([row(CreatedAt=1e300)], "range"),
        ([row(CreatedAt=1706702400000000)], "range"),
    ],
)
def test_one_row_that_cannot_be_read_makes_the_whole_answer_useless(rows: object, why: str) -> None:
    with pytest.raises(PermanentError, match=why):
        parse(rows, "api", SOURCE)


def test_an_expression_that_does_not_fit_the_answer_is_no_crash() -> None:
    source = CommandSource(**{**{name: getattr(SOURCE, name) for name in SOURCE.__slots__}, "items": "sort_by(@, &Version)"})
    with pytest.raises(PermanentError, match="the release source of api"):
        parse([row(Version="a"), row(Version=1)], "api", source)


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (completed(exit_code=1), TemporaryError, "exit code 1"),
        (completed(exit_code=None, signal="SIGKILL"), TemporaryError, "SIGKILL"),
        (completed(timed_out=True), TemporaryError, "timed out"),
        (completed(error="fly: no such command", exit_code=None), TemporaryError, "no such command"),
        (completed(b"<html>"), PermanentError, "did not print JSON"),
        (completed(b"[" * 100_000), PermanentError, "did not print JSON"),
        (completed(b"[NaN]"), PermanentError, "did not print JSON"),
        (completed(json.dumps([row()]).encode(), dropped=7), PermanentError, "printed too much"),
    ],
)
async def test_an_answer_that_is_none_is_an_error_of_a_family(answer: Completed, error: type[Exception], why: str) -> None:
    async def run(_policy: ServicePolicy, _source: CommandSource) -> Completed:
        return answer

    with pytest.raises(error, match=why):
        await ask(run, service(), SOURCE)
