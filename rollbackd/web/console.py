"""The console: two read-only pages, rendered here and styled by one file, without a line of JavaScript.

Everything that is shown goes through autoescaping, and text from outside is made harmless first (I11, I13).
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Final

from aiohttp import web

from rollbackd.clock import parse_rfc3339
from rollbackd.telemetry.redaction import harmless
from rollbackd.web import views
from rollbackd.web.answers import Html, Raw
from rollbackd.web.api import record_of, services_of, status_of
from rollbackd.web.deps import DEPS

if TYPE_CHECKING:
    from jinja2 import Environment

RECENT: Final = 20
LOOKS: Final = 20


async def index(request: web.Request) -> Html:
    """The console: what is going on, and every service."""
    deps = request.app[DEPS]
    page = await deps.store.incidents.page(limit=RECENT)
    return _page(
        "index.html",
        {
            "status": await status_of(deps),
            "services": await services_of(deps),
            "incidents": [views.incident(one, None) for one in page.items],
        },
    )


async def incident(request: web.Request) -> Html:
    """The console's page of one incident."""
    record = await record_of(request.app[DEPS], request.match_info["id"])
    return _page("incident.html", {"incident": record, "looks": record["looks"][-LOOKS:][::-1]})


async def stylesheet(_request: web.Request) -> Annotated[web.StreamResponse, Raw(media=("text/css",))]:
    """How the console looks."""
    return web.Response(text=_stylesheet(), content_type="text/css", charset="utf-8", headers={"Cache-Control": "max-age=3600"})


def _page(template: str, context: Mapping[str, object]) -> web.Response:
    text = _environment().get_template(template).render(context)
    return web.Response(text=text, content_type="text/html", charset="utf-8")


@cache
def _stylesheet() -> str:
    return (files(__package__) / "static" / "console.css").read_text("utf-8")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415 - most daemons never show a page: 70 ms at start

    environment = Environment(
        loader=PackageLoader("rollbackd.web"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(clock=_clock, words=_words, number=_number)
    return environment


def _finalize(value: object) -> object:
    """`—` where nothing is known. Markup is left alone: it was escaped by whoever made it."""
    if value is None:
        return "—"
    return harmless(value, lines=True) if type(value) is str else value


def _clock(instant: str | None) -> str | None:
    return None if instant is None else f"{parse_rfc3339(instant):%Y-%m-%d %H:%M:%S}"


def _words(code: str | None) -> str | None:
    """`roll_back` → `roll back`."""
    return None if code is None else code.replace("_", " ")


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"
