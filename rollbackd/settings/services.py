"""From one layered service to its `ServicePolicy`: names become things, placeholders are filled, contradictions are errors."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rollbackd.decision.record import span
from rollbackd.decision.trigger import READINGS_AT_MOST, lookback
from rollbackd.model.matchers import Matcher, MatchOperator
from rollbackd.model.policy import (
    ApiSource,
    BudgetPolicy,
    CommandSource,
    EmergencyPolicy,
    FleetBrakePolicy,
    FreezeWindow,
    Mode,
    SecretRef,
    ServicePolicy,
    WatchPolicy,
)
from rollbackd.model.runbook import EnvironmentValue, HttpAsk, Probe, RunAsk, Runbook, RunbookKind
from rollbackd.settings import placeholders, questions
from rollbackd.settings.document import Place
from rollbackd.settings.effective import PrometheusServer
from rollbackd.settings.files import Files
from rollbackd.settings.judging import Judging
from rollbackd.settings.layers import Layered
from rollbackd.settings.problems import Problems
from rollbackd.settings.runbook_schema import Credential
from rollbackd.settings.runbooks import Library, ReadRunbook
from rollbackd.settings.schema import CommandReleases
from rollbackd.settings.suggest import unknown

DEFAULT_SERVER: Final = "main"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the services of one config share."""

    judging: Judging
    library: Library
    servers: Mapping[str, PrometheusServer]
    named_servers: Collection[str]  # also those that have errors
    named_services: Collection[str]
    files: Files
    problems: Problems


class ServiceResolver:
    """Makes the policy of one service. Every error is reported; the policy is only good when there was none."""

    def __init__(self, service: Layered, around: Surroundings) -> None:
        self._service = service
        self._settings = service.settings
        self._around = around
        self._problems = around.problems
        self._values: dict[str, str | tuple[str, ...]] = {"service.name": service.name}
        self._values |= {f"vars.{name}": value for name, value in service.settings.vars.items()}
        self._known = [name for name, value in self._values.items() if isinstance(value, str)]
        self._lists = [name for name, value in self._values.items() if not isinstance(value, str)]

    def policy(self) -> ServicePolicy | None:
        settings, around = self._settings, self._around
        indicators = around.judging.indicators_of(self._service)
        triggers = around.judging.triggers_of(self._service, indicators)
        around.judging.check(self._service, triggers)
        match, selector = self._matchers("match"), self._matchers("selector")
        runbook, emergency = self._runbook(), self._emergency()
        releases, running_version, credentials = self._releases(), self._running_version(), self._credentials()
        objectives = around.judging.objectives_of(self._service, indicators)
        self._check_neighbours()
        server = self._server()
        if server is None:
            return None
        policy = ServicePolicy(
            name=self._service.name,
            match=match,
            selector=selector,
            triggers=triggers,
            objectives=objectives,
            prometheus=server.name,
            scrape_interval=server.scrape_interval,
            max_sample_age=settings.max_sample_age or 2 * server.scrape_interval,
            recheck_every=settings.recheck_every or server.scrape_interval,
            mode=settings.mode,
            blame=settings.blame,
            inconclusive=settings.inconclusive,
            give_up_after=settings.give_up_after,
            blame_window=settings.blame_window,
            baseline=settings.baseline,
            max_quiet=settings.max_quiet,
            cooldown=settings.cooldown,
            while_rolling=settings.while_rolling,
            budget=BudgetPolicy(**settings.budget.model_dump()),
            fleet_brake=FleetBrakePolicy(**settings.fleet_brake.model_dump()),
            settling=settings.settling,
            approval_expires=settings.approval.expires,
            escalation_timeout=settings.escalation_timeout,
            freeze=tuple(FreezeWindow(**freeze.model_dump()) for freeze in settings.freeze),
            watch=WatchPolicy(**settings.watch.model_dump()),
            guard_for=settings.guard_for,
            readiness_every=settings.readiness_every,
            version_label=settings.version_label,
            spread=settings.spread,
            depends_on=settings.depends_on,
            vars=settings.vars,
            releases=releases,
            running_version=running_version,
            credentials=credentials,
            runbook=runbook,
            on_failure=emergency,
        )
        self._check_look_back(policy)
        return policy

    def _server(self) -> PrometheusServer | None:
        around, name = self._around, self._settings.prometheus
        if name is None:
            name = DEFAULT_SERVER if DEFAULT_SERVER in around.named_servers else next(iter(around.named_servers), DEFAULT_SERVER)
            if name != DEFAULT_SERVER and len(around.named_servers) > 1:
                several = ", ".join(sorted(around.named_servers))
                self._problems.error(self._service.place, f"say which 'prometheus' ({several}), or name one of them main", at_key=True)
        elif name not in around.named_servers:
            self._problems.error(
                self._service.at("prometheus"), f"unknown prometheus server {name!r}: {unknown(name, around.named_servers)}"
            )
        return around.servers.get(name)

    def _matchers(self, setting: str) -> tuple[Matcher, ...]:
        written: tuple[tuple[Matcher, ...], ...] | None = getattr(self._settings, setting)
        if written is None:
            return (Matcher("service", MatchOperator.EQUAL, self._service.name),)
        place = self._service.at(setting)
        matchers = tuple(self._filled(matcher, place) for text in written for matcher in text)
        if not matchers:
            self._problems.error(place, f"{setting} names no label: it would take in every service")
        if setting == "selector" and any(":" in matcher.name for matcher in matchers):
            self._problems.error(place, "a label's name in a selector is letters, digits and _")
        return matchers

    def _filled(self, matcher: Matcher, place: Place) -> Matcher:
        self._check(matcher.value, place)
        regex = matcher.operator.is_regex
        return Matcher(matcher.name, matcher.operator, placeholders.fill(matcher.value, self._values, regex=regex))

    def _releases(self) -> ApiSource | CommandSource:
        section, place = self._settings.releases, self._service.at("releases")
        if not isinstance(section, CommandReleases):
            return ApiSource()
        if section.status is not None and not section.live_when:
            self._problems.error(place, "'live_when' is missing: which values of status mean that a release is live")
        if section.status is None and (section.live_when or section.failed_when):
            self._problems.error(place, "'status' is missing: live_when and failed_when are values of it")
        self._check_all(questions.argv_texts(section.run, place / "run"))
        self._check_all(questions.env_texts(section.env, place / "env"))
        self._check_credentials(section.env, place / "env")
        fields = section.model_dump(exclude={"source", "run", "env"})
        return CommandSource(argv=self._fill_all(section.run), env=self._fill_env(questions.environment(section.env)), **fields)

    def _running_version(self) -> Probe | None:
        question, place = self._settings.running_version, self._service.at("running_version")
        if question is None:
            return None
        self._check_all(questions.texts(question, place))
        self._check_credentials(question.env, place / "env")
        probe = questions.probe(question, place, self._problems, expected=False)
        if probe is None:
            return None
        ask = probe.ask
        if isinstance(ask, RunAsk):
            ask = RunAsk(argv=self._fill_all(ask.argv), env=self._fill_env(ask.env), jmespath=ask.jmespath)
        elif isinstance(ask, HttpAsk):
            ask = HttpAsk(url=placeholders.fill(ask.url, self._values), jmespath=ask.jmespath)
        return Probe(ask=ask, timeout=probe.timeout)

    def _credentials(self) -> dict[str, SecretRef]:
        return {
            name: SecretRef(file=str(self._around.files.secret(section.file, self._service.at("credentials", name, "file"))))
            for name, section in self._settings.credentials.items()
        }

    def _runbook(self) -> Runbook | None:
        place = self._service.at("runbook")
        if self._settings.runbook is None:
            if self._settings.mode is not Mode.OBSERVE and not self._service.writes("runbook"):
                self._problems.error(self._service.at("mode"), f"{self._service.name}: mode {self._settings.mode} needs a 'runbook'")
            return None
        read = self._named_runbook(self._settings.runbook, place)
        if read is not None and read.runbook.kind is not RunbookKind.QUICK:
            self._problems.error(place, f"runbook {read.runbook.name!r} is {read.runbook.kind}: only a quick one runs by itself")
        return None if read is None else read.runbook

    def _emergency(self) -> EmergencyPolicy | None:
        section, place = self._settings.on_failure, self._service.at("on_failure", "runbook")
        if section is None:
            return None
        read = self._named_runbook(section.runbook, place)
        if read is not None and read.runbook.kind is not RunbookKind.EMERGENCY:
            self._problems.error(place, f"runbook {read.runbook.name!r} is {read.runbook.kind}: on_failure takes an emergency one")
        return None if read is None else EmergencyPolicy(runbook=read.runbook, auto=section.auto)

    def _named_runbook(self, name: str, place: Place) -> ReadRunbook | None:
        library = self._around.library
        read = library.runbooks.get(name)
        if read is None:
            if name not in library.broken:
                known = unknown(name, library.runbooks)
                self._problems.error(place, f"unknown runbook {name!r}: {known} (the files are in runbooks/ beside the config)")
            return None
        for variable, asked in read.variables.items():
            for complaint in placeholders.complaints(f"${{vars.{variable}}}", self._known, lists=self._lists):
                self._problems.error(place, f"{self._service.name}, runbook {name!r} ({asked}): {complaint}")
        for variable, asked in read.lists.items():
            if f"vars.{variable}" not in self._lists:
                complaint = "is one text" if f"vars.{variable}" in self._known else "is missing"
                self._problems.error(
                    place, f"{self._service.name}, runbook {name!r} ({asked}): vars.{variable} {complaint}: for_each takes a list"
                )
        missing = [credential for credential in read.credentials if credential not in self._settings.credentials]
        report = self._problems.warn if self._settings.mode is Mode.OBSERVE else self._problems.error
        for credential in missing:
            asked = read.credentials[credential]
            report(place, f"{self._service.name} has no credential {credential}, which runbook {name!r} asks for ({asked})")
        return read

    def _check_neighbours(self) -> None:
        settings, named = self._settings, self._around.named_services
        for position, name in enumerate(settings.depends_on):
            if name not in named or name == self._service.name:
                place = self._service.at("depends_on", position)
                other = "itself" if name == self._service.name else f"the unknown service {name!r}: {unknown(name, named)}"
                self._problems.error(place, f"{self._service.name} depends on {other}")
        if settings.watch.stable_for > settings.watch.duration:
            self._problems.error(self._service.at("watch"), "stable_for is longer than duration: nothing could ever count as recovered")

    def _check_look_back(self, policy: ServicePolicy) -> None:
        """More than Prometheus gives would be unknown at every look, and nobody would see why before the first incident."""
        step = policy.scrape_interval
        for trigger in policy.triggers:
            back = max(lookback(policy, trigger), policy.baseline)
            if back // step + 1 > READINGS_AT_MOST:
                name = "baseline" if policy.baseline > policy.blame_window else "blame_window"
                asked = f"looks back {span(back)} in steps of {span(step)}, its scrape interval: {back // step + 1:,} measurements"
                message = f"trigger {trigger.name} {asked}; Prometheus gives {READINGS_AT_MOST:,}: shorten blame_window, baseline or for"
                self._problems.error(self._service.at(name), f"{self._service.name}: {message}")
                return

    def _check_credentials(self, env: Mapping[str, str | Credential], place: Place) -> None:
        for variable, value in env.items():
            if isinstance(value, Credential) and value.credential not in self._settings.credentials:
                known = unknown(value.credential, self._settings.credentials)
                self._problems.error(place / variable, f"{self._service.name}: unknown credential {value.credential!r}: {known}")

    def _check_all(self, texts: Iterable[tuple[Place, str]]) -> None:
        for place, text in texts:
            self._check(text, place)

    def _check(self, text: str, place: Place) -> None:
        for complaint in placeholders.complaints(text, self._known, lists=self._lists):
            self._problems.error(place, f"{self._service.name}: {complaint}")

    def _fill_all(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(placeholders.fill(element, self._values) for element in argv)

    def _fill_env(self, env: Mapping[str, EnvironmentValue]) -> dict[str, EnvironmentValue]:
        return {name: placeholders.fill(value, self._values) if isinstance(value, str) else value for name, value in env.items()}
