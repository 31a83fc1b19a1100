"""From the sections of a config and its runbooks to `Settings`: what they mean together, and every error in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from rollbackd.model.incident import Severity
from rollbackd.settings import schema
from rollbackd.settings.document import Place
from rollbackd.settings.effective import (
    AlertmanagerSettings,
    Channel,
    Contact,
    HeartbeatSettings,
    Person,
    PrometheusServer,
    Role,
    SentrySettings,
    ServerSettings,
    Settings,
    TlsSettings,
    WebhookSettings,
)
from rollbackd.settings.files import Files
from rollbackd.settings.judging import Judging
from rollbackd.settings.layers import Layered, overlay
from rollbackd.settings.problems import Problems
from rollbackd.settings.runbooks import Library
from rollbackd.settings.services import DEFAULT_SERVER, ServiceResolver, Surroundings
from rollbackd.settings.suggest import unknown


@dataclass(frozen=True, slots=True)
class Written:
    """Everything that was read. `services` are those of the config and of the files that it includes, each with its place."""

    path: Path
    config: schema.ConfigFile
    root: Place
    services: Mapping[str, tuple[schema.Service, Place]]
    named_services: frozenset[str]  # also those that have errors
    library: Library


@dataclass(frozen=True, slots=True)
class Resolved:
    settings: Settings
    services: Mapping[str, Layered]


class Resolver:
    """Every error goes to `problems`; what is resolved is only good when it has none afterwards."""

    def __init__(self, written: Written, problems: Problems) -> None:
        self._written = written
        self._config = written.config
        self._root = written.root
        self._files = Files(written.path.parent, problems)
        self._problems = problems

    def resolve(self) -> Resolved:
        config = self._config
        servers = self._servers()
        around = Surroundings(
            judging=Judging(config, self._root, self._problems),
            library=self._written.library,
            servers=servers,
            named_servers=self._named_servers(),
            named_services=self._written.named_services,
            files=self._files,
            problems=self._problems,
        )
        layered = {name: self._layered(name, section, place) for name, (section, place) in self._written.services.items()}
        policies = {name: ServiceResolver(service, around).policy() for name, service in layered.items()}
        self._check_services()
        self._check_units()
        settings = Settings(
            path=self._written.path.absolute(),
            server=self._server(),
            ingest_token_file=self._ingest(),
            people=self._people(),
            prometheus=servers,
            store_url=config.store.url,
            services={name: policy for name, policy in policies.items() if policy is not None},
            contacts=self._contacts(),
            channels=self._channels(),
            alertmanager=self._alertmanager(),
            sentry=self._sentry(),
            heartbeat=self._heartbeat(),
            report_language=config.report.language,
            retention=config.defaults.retention,
            shutdown_grace=config.defaults.shutdown_grace,
            runbooks={name: read.runbook for name, read in self._written.library.runbooks.items()},
        )
        return Resolved(settings, layered)

    def _layered(self, name: str, section: schema.Service, place: Place) -> Layered:
        settings, places = self._config.defaults, [self._root / "defaults", self._root]
        if section.use is not None:
            templates, template_place = self._config.templates, self._root / "templates" / section.use
            if section.use in templates:
                settings, places = overlay(settings, templates[section.use]), [template_place, *places]
            elif not template_place.written:
                self._problems.error(place / "use", f"unknown template {section.use!r}: {unknown(section.use, templates)}")
        return Layered(name, overlay(settings, section), (place, *places))

    def _servers(self) -> dict[str, PrometheusServer]:
        section, place = self._config.prometheus, self._root / "prometheus"
        if section is None:
            if not place.written:
                self._problems.error(self._root, "'prometheus' is missing: write prometheus: {url: http://127.0.0.1:9090}")
            return {}
        if isinstance(section, schema.PrometheusServer):
            return {DEFAULT_SERVER: self._prometheus(DEFAULT_SERVER, section, place)}
        return {name: self._prometheus(name, server, place / name) for name, server in section.items()}

    def _named_servers(self) -> set[str]:
        """Also those that have errors."""
        named = (self._root / "prometheus").entries.keys()
        return {DEFAULT_SERVER} if not named or named & schema.PrometheusServer.model_fields.keys() else set(named)

    def _prometheus(self, name: str, section: schema.PrometheusServer, place: Place) -> PrometheusServer:
        return PrometheusServer(
            name=name,
            url=section.url,
            timeout=section.timeout,
            scrape_interval=section.scrape_interval,
            headers=section.headers,
            token_file=self._files.secret(section.token_file, place / "token_file") if section.token_file else None,
            ca_file=self._files.plain(section.ca_file, place / "ca_file") if section.ca_file else None,
        )

    def _server(self) -> ServerSettings:
        section = self._config.server
        host, _, port = section.listen.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        self._check_doors(host)
        return ServerSettings(host=host, port=int(port), external_url=section.external_url, tls=self._tls())

    def _check_doors(self, host: str) -> None:
        """Beyond this machine nothing is open without a token."""
        if _is_loopback(host):
            return
        place, auth = self._root / "server" / "listen", self._root / "auth"
        if not (auth / "ingest").written:
            self._problems.error(place, f"anyone who reaches {host} could post alerts: add auth.ingest.token_file, or listen on 127.0.0.1")
        if not self._config.auth.people:
            self._problems.error(place, f"anyone who reaches {host} could record releases: add auth.people, or listen on 127.0.0.1")

    def _tls(self) -> TlsSettings | None:
        tls, place = self._config.server.tls, self._root / "server" / "tls"
        if tls is None:
            return None
        return TlsSettings(
            cert_file=self._files.plain(tls.cert_file, place / "cert_file"),
            key_file=self._files.secret(tls.key_file, place / "key_file"),
            client_ca_file=self._files.plain(tls.client_ca_file, place / "client_ca_file") if tls.client_ca_file else None,
        )

    def _ingest(self) -> Path | None:
        ingest = self._config.auth.ingest
        return self._files.tokens(ingest.token_file, self._root / "auth" / "ingest" / "token_file") if ingest else None

    def _people(self) -> tuple[Person, ...]:
        people: dict[str, Person] = {}
        for position, person in enumerate(self._config.auth.people):
            place = self._root / "auth" / "people" / position
            if person.name in people:
                self._problems.error(place / "name", f"{person.name!r} is there twice: people are told apart by their names")
            token_file = self._files.tokens(person.token_file, place / "token_file")
            people[person.name] = Person(name=person.name, role=Role(person.role), token_file=token_file)
        return tuple(people.values())

    def _sentry(self) -> SentrySettings | None:
        sentry = self._config.sentry
        if sentry is None:
            return None
        dsn_file = self._files.secret(sentry.dsn_file, self._root / "sentry" / "dsn_file")
        return SentrySettings(dsn_file=dsn_file, environment=sentry.environment, monitor=sentry.monitor)

    def _heartbeat(self) -> HeartbeatSettings | None:
        section = self._config.heartbeat
        if section is None:
            return None
        url_file = self._files.secret(section.url_file, self._root / "heartbeat" / "url_file")
        return HeartbeatSettings(url_file=url_file, every=section.every)

    def _check_services(self) -> None:
        place = self._root / "services"
        refused = place.written and "services" not in self._config.model_fields_set
        if not self._written.named_services and not refused:
            self._problems.error(place, "there is no service: name at least one under 'services'")

    def _check_units(self) -> None:
        named = self._written.named_services
        for unit, section in self._config.units.items():
            for key, services in (("services", section.services), ("order", section.order)):
                for position, service in enumerate(services):
                    if service not in named:
                        place = self._root / "units" / unit / key / position
                        self._problems.error(place, f"unknown service {service!r}: {unknown(service, named)}")

    def _contacts(self) -> tuple[Contact, ...]:
        named = {channel.name for channel in self._config.notify}
        for position, contact in enumerate(self._config.contacts):
            if contact.channel is not None and contact.channel not in named:
                place = self._root / "contacts" / position / "channel"
                self._problems.error(place, f"unknown channel {contact.channel!r}: {unknown(contact.channel, named)}")
        return tuple(Contact(role=contact.role, name=contact.name, channel=contact.channel) for contact in self._config.contacts)

    def _channels(self) -> tuple[Channel, ...]:
        channels: dict[str, Channel] = {}
        for position, section in enumerate(self._config.notify):
            place = self._root / "notify" / position
            if section.name in channels:
                self._problems.error(place / "name", f"{section.name!r} is there twice: channels are told apart by their names")
            if (section.url_file is None) is (section.webhook is None):
                self._problems.error(place, "a channel has either url_file, with an Apprise URL in it, or webhook: write one of the two")
            channels[section.name] = Channel(
                name=section.name,
                url_file=None if section.url_file is None else self._files.apprise_url(section.url_file, place / "url_file"),
                webhook=self._webhook(section.webhook, place / "webhook"),
                min_severity=Severity(section.min_severity),
                language=section.language or self._config.report.language,
            )
        return tuple(channels.values())

    def _webhook(self, section: schema.Webhook | None, place: Place) -> WebhookSettings | None:
        if section is None:
            return None
        secret_file = None if section.secret_file is None else self._files.secret(section.secret_file, place / "secret_file")
        return WebhookSettings(url=section.url, secret_file=secret_file)

    def _alertmanager(self) -> AlertmanagerSettings | None:
        section = self._config.alertmanager
        if section is None:
            return None
        place = self._root / "alertmanager" / "token_file"
        token_file = None if section.token_file is None else self._files.secret(section.token_file, place)
        return AlertmanagerSettings(url=section.url, token_file=token_file)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
