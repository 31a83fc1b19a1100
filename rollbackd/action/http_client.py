"""Every HTTP request that an operator wrote into the config: the host stands there, and nothing that comes back leads anywhere else."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import aiohttp

from rollbackd.action.environment import Environments
from rollbackd.action.output import Cleaner, HeadAndTail
from rollbackd.errors import MisconfiguredError
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.runbook import Request
from rollbackd.outward import as_written, session

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
"""The id of the attempt, as ROLLBACKD_ATTEMPT is for a command: a server that knows it does nothing twice."""

_CHUNK: Final = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Replied:
    """What came of a request. `status` is None when there was no answer; `sent` says whether the server may have got it all the same."""

    status: int | None
    how: str  # one line for a person
    sent: bool = True
    output: str = field(default="", repr=False)  # the head and the tail of the answer, fit to be kept


class HttpClient:
    def __init__(self, environments: Environments) -> None:
        self._environments = environments

    async def send(self, policy: ServicePolicy, request: Request, *, mark: str, timeout: timedelta) -> Replied:  # noqa: ASYNC109 - of it all
        """One attempt of a step, `mark` its id. What goes wrong on the way is an answer; redirects are not followed.

        Raises MisconfiguredError before anything is sent.
        """
        headers, secrets = self._headers(policy, request, mark)
        cleaner = Cleaner(secrets)
        trace, sent = _watch_for_the_request()
        try:
            async with (
                asyncio.timeout(timeout.total_seconds()),
                session(trace) as client,
                client.request(
                    request.method,
                    as_written(request.url),
                    data=None if request.json is None else request.json.encode(),
                    headers=headers,
                    allow_redirects=False,
                ) as response,
            ):
                kept = HeadAndTail()
                async for chunk in response.content.iter_chunked(_CHUNK):
                    kept.add(chunk)
        except TimeoutError:
            return Replied(status=None, how=f"no answer within {timeout.total_seconds():g} s", sent=sent.is_set())
        except (aiohttp.ClientError, OSError, ValueError) as e:
            return Replied(status=None, how=cleaner.clean_text(str(e) or type(e).__name__), sent=sent.is_set())
        return Replied(status=response.status, how=f"HTTP {response.status}", output=cleaner.clean(kept.content()).strip("\n"))

    def _headers(self, policy: ServicePolicy, request: Request, mark: str) -> tuple[dict[str, str], tuple[str, ...]]:
        """Read when they are needed and not kept, as the environment of a command is."""
        wanted = dict(request.headers)
        if request.token is not None:
            wanted["Authorization"] = request.token
        texts, secrets = {}, []
        for name, value in wanted.items():
            if isinstance(value, str):
                texts[name] = value
                continue
            secret = self._environments.credential(policy, value.credential)
            if not secret.isprintable():
                raise MisconfiguredError(f"{value.credential} has several lines or control characters: it cannot be a header")
            secrets.append(secret)
            texts[name] = f"Bearer {secret}" if value is request.token else secret
        body = {"Content-Type": "application/json"} if request.json is not None else {}
        return {**body, **texts, IDEMPOTENCY_KEY: mark}, tuple(secrets)


def _watch_for_the_request() -> tuple[aiohttp.TraceConfig, asyncio.Event]:
    """The event is set from the first byte on that the server may have got."""
    sent = asyncio.Event()

    async def note(*_: object) -> None:
        sent.set()

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(note)
    return trace, sent
