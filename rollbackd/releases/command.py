"""Releases read from a command's JSON, such as `fly releases --json`: JMESPath picks the fields, the platform keeps the history."""

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import jmespath

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
    try:
        answer = json.loads(completed.stdout)
    except ValueError as e:
        raise PermanentError(f"the release source of {policy.name} ({source.argv[0]}) did not print JSON: {e}") from e
    return parse(answer, policy.name, source)


def parse(answer: object, service: str, source: CommandSource) -> tuple[Release, ...]:
    """Releases out of the decoded answer. A row without a version or a start is an error: half a history is no history.

    Raises:
        PermanentError: a row does not have what the config says it has.
    """
    rows = jmespath.search(source.items, answer)
    if not isinstance(rows, list):
        raise PermanentError(f"the release source of {service}: items {source.items!r} is not a list in its answer")
    return tuple(_release(row, service, source) for row in rows[:_ROWS_AT_MOST])


def _release(row: object, service: str, source: CommandSource) -> Release:
    field = _reader(row, service)
    status = _status(field(source.status) if source.status else None, source)
    version = field(source.version)
    artifact = field(source.artifact) if source.artifact else None
    started_at = field(source.started_at)
    live_at = field(source.live_at) if source.live_at else None
    if version is None or started_at is None:
        raise PermanentError(f"the release source of {service}: a row has no {source.version if version is None else source.started_at}")
    try:
        started = _instant(started_at)
        return Release(
            service=service,
            version=check_version(_text(version)),
            artifact=check_version(_text(artifact if artifact is not None else version), what="artifact"),
            started_at=started,
            live_at=(_instant(live_at) if live_at is not None else started) if status is ReleaseStatus.LIVE else None,
            status=status,
            source="command",
        )
    except ValueError as e:
        raise PermanentError(f"the release source of {service}: {e}") from e


def _reader(row: object, service: str) -> Callable[[str], object]:
    def field(expression: str) -> object:
        value = jmespath.search(expression, row)
        if isinstance(value, (dict, list)):
            raise PermanentError(f"the release source of {service}: {expression!r} is not a single value")
        return value

    return field


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
