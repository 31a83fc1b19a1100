"""What a route takes and gives, said once, in the types of its handler: the server goes by them, and so does the API's description.

`async def approve(request, body: ApproveBody) -> Answer[IncidentRecord]` is handed a body that was read as an `ApproveBody`, and what
it returns is sent as JSON. `query` is the parameter for what stands behind the `?`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from types import UnionType
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

import orjson
from aiohttp import web

from rollbackd.telemetry.redaction import harmless_data
from rollbackd.web.body import Body, NothingBody, Query, read, read_query

T = TypeVar("T")

Handler = Callable[..., Awaitable["Answer[Any] | web.StreamResponse"]]
JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """The shape of the JSON is `T`."""

    status: ClassVar[HTTPStatus] = HTTPStatus.OK
    value: T


class Created(Answer[T]):
    __slots__ = ()
    status = HTTPStatus.CREATED


class Accepted(Answer[T]):
    __slots__ = ()
    status = HTTPStatus.ACCEPTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """Stands in `Annotated` beside the response of a handler that reads or writes by itself, and says the same in other words."""

    media: tuple[str, ...] = (JSON,)
    takes: type | None = None
    gives: type | None = None
    headers: tuple[str, ...] = ()


Html = Annotated[web.StreamResponse, Raw(media=("text/html",))]
Plain = Annotated[web.StreamResponse, Raw(media=("text/plain",))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the types of a handler say: `gives` is by status, and `raw` there where the handler goes its own way."""

    query: type[Query] | None = None
    body: type[Body] | None = None
    gives: dict[HTTPStatus, Any] = field(default_factory=dict)
    raw: Raw | None = None

    @property
    def is_strict(self) -> bool:
        """Whether a parameter that it does not know is an error: one that is ignored would show, or do, something else."""
        return self.raw is None or self.query is not None


@cache
def said(handler: Handler) -> Said:
    hints = get_type_hints(handler, include_extras=True)
    answer = hints["return"]
    raw = next((one for one in get_args(answer) if isinstance(one, Raw)), None)
    each = get_args(answer) if get_origin(answer) in {Union, UnionType} else (answer,)
    gives = {get_origin(one).status: get_args(one)[0] for one in each} if raw is None else {HTTPStatus.OK: raw.gives}
    return Said(query=hints.get("query"), body=hints.get("body"), gives=gives, raw=raw)


def answering(handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """`handler`, with what it takes read, and what it gives sent. Raises 400 with every error at once, 408, 413 or 415."""
    types = said(handler)

    async def answer(request: web.Request) -> web.StreamResponse:
        taken: dict[str, object] = {}
        if types.is_strict:
            query = read_query(request, types.query or Query)
            taken |= {"query": query} if types.query is not None else {}
        if types.raw is None and request.method == "POST":
            body = await read(request, types.body or NothingBody)
            taken |= {"body": body} if types.body is not None else {}
        given = await handler(request, **taken)
        if isinstance(given, web.StreamResponse):
            return given
        return web.Response(status=given.status, body=orjson.dumps(harmless_data(given.value)), content_type=JSON)

    return answer
