"""The config in use: the one place that a reload changes. Whoever needs a setting asks here each time, and keeps none."""

import ssl
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from rollbackd.clock import Clock
from rollbackd.intake.auth import Tokens
from rollbackd.intake.routing import Route, Routing
from rollbackd.prometheus.client import PrometheusClient
from rollbackd.settings import tls
from rollbackd.settings.effective import Settings
from rollbackd.telemetry.metrics import Metrics

V = TypeVar("V")
Clients = Mapping[str, PrometheusClient]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What was read, and everything that is built for it; whole before anybody sees it.

    `clients` are by the name of their server, `spare` those for what is never urgent.
    """

    settings: Settings
    read_at: datetime
    routing: Routing
    ingest: Tokens
    people: Tokens
    clients: Clients
    spare: Clients
    tls: ssl.SSLContext | None


def prepare(settings: Settings, *, read_at: datetime, clock: Clock, metrics: Metrics, before: Config | None = None) -> Config:
    """Blocks. A client whose server is as it was `before` is kept, with its connections.

    Raises MisconfiguredError: a token file or a certificate cannot be used.
    """

    def clients(known: Clients) -> Clients:
        old = before.settings.prometheus if before is not None else {}
        return {
            name: known[name] if old.get(name) == server else PrometheusClient(server, clock, metrics)
            for name, server in settings.prometheus.items()
        }

    return Config(
        settings=settings,
        read_at=read_at,
        routing=Routing(settings.services),
        ingest=Tokens.of_ingest(settings),
        people=Tokens.of_people(settings),
        tls=tls.listening(settings.server.tls),
        clients=clients(before.clients if before is not None else {}),
        spare=clients(before.spare if before is not None else {}),
    )


class InUse:
    """`services`, `clients` and `spare` are those of whichever config is in use when they are asked."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.services = _Current(lambda: self.config.settings.services)
        self.runbooks = _Current(lambda: self.config.settings.runbooks)
        self.clients = _Current(lambda: self.config.clients)
        self.spare = _Current(lambda: self.config.spare)
        if config.tls is not None:  # the listener keeps this one for ever
            config.tls.sni_callback = self._show_current_certificate

    def settings(self) -> Settings:
        return self.config.settings

    def route(self, labels: Mapping[str, str]) -> Route:
        return self.config.routing.route(labels)

    def ingest(self) -> Tokens:
        return self.config.ingest

    def people(self) -> Tokens:
        return self.config.people

    def _show_current_certificate(self, connection: ssl.SSLSocket | ssl.SSLObject, _name: str | None, _at_start: ssl.SSLContext) -> None:
        """Each new connection is shown the certificate that was read last."""
        if self.config.tls is not None:
            connection.context = self.config.tls

    async def close(self) -> None:
        for client in (*self.config.clients.values(), *self.config.spare.values()):
            await client.close()


class _Current(Mapping[str, V]):
    """A mapping of the config in use. Whoever walks through it walks through one config, whatever is read meanwhile."""

    def __init__(self, current: Callable[[], Mapping[str, V]]) -> None:
        self._current = current

    def __getitem__(self, key: str) -> V:
        return self._current()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._current())

    def __len__(self) -> int:
        return len(self._current())

    def keys(self) -> KeysView[str]:
        return self._current().keys()

    def values(self) -> ValuesView[V]:
        return self._current().values()

    def items(self) -> ItemsView[str, V]:
        return self._current().items()
