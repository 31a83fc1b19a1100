"""Releases read from a command's JSON, such as `fly releases --json`: JMESPath picks the fields, the platform keeps the history."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import jmespath
import orjson

from rollbackd.clock import parse_rfc3339
from rollbackd.errors import PermanentError, TemporaryError
from rollbackd.model.policy import CommandSource, ServicePolicy
from rollbackd.model.process import Completed
from rollbackd.model.release import Release, ReleaseStatus, check_version

_ROWS_AT_MOST: Final = 200


RunSource = Callable[[ServicePolicy, CommandSource], Awaitable[Completed]]
"""Runs the command of a source with all credentials of its service, bounded in time and output."""


async def ask(run: RunSource, policy: ServicePolicy, source: CommandSource) -> tuple[Release, ...]:
    """The releases that the command lists.

    Raises:
        TemporaryError: the command could not run, failed or timed out.
        PermanentError: its answer is not what the config says it is.
    """
    completed = await run(policy, source)
    if not completed.ok:
        why = completed.error or (
            "timed out" if completed.timed_out else f"ended with {completed.signal or f'exit code {completed.exit_code}'}"
        )
        raise TemporaryError(f"the release source of {policy.name} ({source.argv[0]}) {why}")
    if completed.dropped:
        raise PermanentError(f"the release source of {policy.name} ({source.argv[0]}) printed too much: have it list fewer releases")
    try:
        answer = orjson.loads(completed.stdout)
    except orjson.JSONDecodeError as e:
        raise PermanentError(f"the release source of {policy.name} ({source.argv[0]}) did not print JSON: {e}") from e
    return parse(answer, policy.name, source)


def parse(answer: object, service: str, source: CommandSource) -> tuple[Release, ...]:
    """The newest releases out of the decoded answer, newest first; of two that started at once the one that is listed first.

    A row without a version or a start is an error: half a history is no history.

    Raises:
        PermanentError: a row does not have what the config says it has.
    """
    try:
        rows = jmespath.search(source.items, answer)
        if not isinstance(rows, list):
            raise ValueError(f"items {source.items!r} is not a list in its answer")  # noqa: TRY004 - as below
        newest_first = sorted((_release(row, service, source) for row in rows), key=lambda release: release.started_at, reverse=True)
        return tuple(newest_first[:_ROWS_AT_MOST])
    except (ValueError, OverflowError, OSError) as e:  # JMESPath's are ValueErrors; the last two: a number that is no time
        raise PermanentError(f"the release source of {service}: {e}") from e


def _release(row: object, service: str, source: CommandSource) -> Release:
    """Raises ValueError, and what a time out of range raises."""
    status = _status(_field(row, source.status), source)
    version, started = _required(row, source.version), _instant(_required(row, source.started_at))
    live_at = _field(row, source.live_at)
    return Release(
        service=service,
        version=check_version(_text(version)),
        artifact=check_version(_text(_artifact(row, source, status) or version), what="artifact"),
        started_at=started,
        live_at=(_instant(live_at) if live_at is not None else started) if status is ReleaseStatus.LIVE else None,
        status=status,
        source="command",
    )


def _artifact(row: object, source: CommandSource, status: ReleaseStatus) -> object:
    """None where the version stands for it. What went live and could be a target must name its own: nothing else may be deployed."""
    if source.artifact is None:
        return None
    return _required(row, source.artifact) if status is ReleaseStatus.LIVE else _field(row, source.artifact)


def _required(row: object, expression: str) -> object:
    value = _field(row, expression)
    if value is None or value == "":
        raise ValueError(f"a row has no {expression}")
    return value


def _field(row: object, expression: str | None) -> object:
    value = jmespath.search(expression, row) if expression else None
    if isinstance(value, dict | list):
        raise ValueError(f"{expression!r} is not a single value")  # noqa: TRY004 - translated with the other unusable values
    return value


def _status(value: object, source: CommandSource) -> ReleaseStatus:
    """What is neither in `live_when` nor in `failed_when` is still rolling; without a status field everything listed is live."""
    if source.status is None:
        return ReleaseStatus.LIVE
    if _among(value, source.live_when):
        return ReleaseStatus.LIVE
    return ReleaseStatus.FAILED if _among(value, source.failed_when) else ReleaseStatus.ROLLING


def _among(value: object, names: Sequence[str]) -> bool:
    return value is not None and _text(value) in names


def _text(value: object) -> str:
    """Numbers from sources become text."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is neither text nor a number")  # noqa: TRY004 - translated with the other unusable values
    return str(value)


def _instant(value: object) -> datetime:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return datetime.fromtimestamp(value, UTC)
    return parse_rfc3339(str(value))
