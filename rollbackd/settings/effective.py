"""What holds once the config file is read, resolved and checked. The other rooms see these types and never the YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

from rollbackd.model.incident import Severity
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.runbook import Runbook


class Role(StrEnum):
    INGEST = "ingest"  # may only post alerts
    CI = "ci"  # may only write releases and changes
    VIEWER = "viewer"
    OPERATOR = "operator"  # includes viewer


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    host: str = "127.0.0.1"
    port: int = 9096
    external_url: str | None = None
    tls: TlsSettings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    name: str
    role: Role
    token_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusServer:
    name: str
    url: str
    timeout: timedelta = timedelta(seconds=5)
    scrape_interval: timedelta = timedelta(seconds=15)
    headers: Mapping[str, str] = field(default_factory=dict)
    token_file: Path | None = None
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    role: str
    name: str
    channel: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    url: str
    secret_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """Either `url_file`, which holds an Apprise URL, or `webhook`."""

    name: str
    url_file: Path | None = None
    webhook: WebhookSettings | None = None
    min_severity: Severity = Severity.INFO
    language: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertmanagerSettings:
    url: str
    token_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SentrySettings:
    dsn_file: Path
    environment: str | None = None
    monitor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatSettings:
    url_file: Path
    every: timedelta = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    path: Path
    server: ServerSettings
    ingest_token_file: Path | None
    people: tuple[Person, ...]
    prometheus: Mapping[str, PrometheusServer]
    store_url: str
    services: Mapping[str, ServicePolicy]
    contacts: tuple[Contact, ...] = ()
    channels: tuple[Channel, ...] = ()
    alertmanager: AlertmanagerSettings | None = None
    sentry: SentrySettings | None = None
    heartbeat: HeartbeatSettings | None = None
    report_language: str = "en"
    retention: timedelta = timedelta(days=90)
    shutdown_grace: timedelta = timedelta(seconds=30)
    runbooks: Mapping[str, Runbook] = field(default_factory=dict)  # all that stand beside the config, by name
