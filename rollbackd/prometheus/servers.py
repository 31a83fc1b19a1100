"""Whether a Prometheus server answers at all, and whether its clock agrees with ours: asked before anything is made of its answers."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rollbackd.errors import PermanentError, TemporaryError
from rollbackd.prometheus import measure
from rollbackd.prometheus.client import PrometheusClient

_QUESTION: Final = "1"  # needs no data


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAnswer:
    """`problem` says in one line what is wrong, empty when nothing is. `clock_offset` None: it did not say what time it is."""

    name: str
    problem: str = ""
    clock_offset: timedelta | None = None


async def ask_server(name: str, client: PrometheusClient) -> ServerAnswer:
    try:
        answer = await client.query(_QUESTION, at=client.clock.now())
    except (TemporaryError, PermanentError) as error:
        return ServerAnswer(name=name, problem=str(error))
    fault = measure.fault(answer, check_clock=True)
    return ServerAnswer(name=name, problem=f"Prometheus server {name}: {fault.detail}" if fault else "", clock_offset=answer.clock_offset)
