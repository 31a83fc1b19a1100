"""Reads a config: one file, those that it includes and the runbooks beside it become `Settings`, or every error at once (I12)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rollbackd.settings import ignored, lints, runbooks, schema, yaml_file
from rollbackd.settings.document import Place
from rollbackd.settings.effective import Settings
from rollbackd.settings.layers import Layered
from rollbackd.settings.problems import InvalidConfigError, Problem, Problems
from rollbackd.settings.resolve import Resolver, Written
from rollbackd.settings.shape import shape

RUNBOOKS: Final = "runbooks"


@dataclass(frozen=True, slots=True)
class Loaded:
    """`problems` are the warnings: with an error there are no settings. `places` say where each service has its settings from;
    `root` is the config file itself.
    """

    settings: Settings
    problems: tuple[Problem, ...]
    places: Mapping[str, "ServicePlaces"]
    root: Place


@dataclass(frozen=True, slots=True)
class ServicePlaces:
    """Where the settings of one service are written, down into its runbooks."""

    written: Layered
    runbook: Place | None = None
    emergency: Place | None = None

    def at(self, *path: str | int) -> Place:
        """Where the setting at `path` comes from; where it is not written, the nearest thing around it that is."""
        match path:
            case ("runbook", first, *rest) if self.runbook is not None:
                return _below(self.runbook, first, *rest)
            case ("on_failure", "runbook", first, *rest) if self.emergency is not None:
                return _below(self.emergency, first, *rest)
            case _:
                return self.written.at(*path)


def load(path: Path) -> Loaded:
    """Raises InvalidConfigError with all errors of all files."""
    problems = Problems()
    library = runbooks.read_all(path.parent / RUNBOOKS, problems)
    document = yaml_file.read(path, problems)
    root = Place(document) if document is not None else None
    config = shape(schema.ConfigFile, root, problems) if root is not None else None
    if root is None or config is None:
        raise InvalidConfigError(problems.errors)
    written = _gather(path, config, root, library, problems)
    resolved = Resolver(written, problems).resolve()
    if problems.errors:
        raise InvalidConfigError(problems.errors)
    ignored.warn(config, root, written.services.values(), problems)
    for place, message in lints.lint(resolved.settings, resolved.services):
        problems.warn(place, message)
    places = {name: _places(layered, library) for name, layered in resolved.services.items()}
    return Loaded(resolved.settings, problems.warnings, places, root)


def _places(layered: Layered, library: runbooks.Library) -> ServicePlaces:
    emergency = layered.settings.on_failure

    def of(name: str | None) -> Place | None:
        read = library.runbooks.get(name) if name is not None else None
        return read.place if read is not None else None

    return ServicePlaces(layered, of(layered.settings.runbook), of(emergency.runbook if emergency else None))


def _below(place: Place, *path: str | int) -> Place:
    for key in path:
        place /= key
    return place


def _gather(path: Path, config: schema.ConfigFile, root: Place, library: runbooks.Library, problems: Problems) -> Written:
    """The config together with the services of the files that it includes; a name is given once."""
    sections: list[tuple[schema.ConfigFile | schema.IncludedFile, Place]] = [(config, root), *_included(config, root, problems)]
    services: dict[str, tuple[schema.Service, Place]] = {}
    named: dict[str, Place] = {}
    for section, place in sections:
        for name in (place / "services").entries:
            here = place / "services" / name
            if name in named:
                problems.error(here, f"service {name!r} is already in {named[name]}", at_key=True)
                continue
            named[name] = here
            if name in section.services:  # else it was refused
                services[name] = section.services[name], here
    return Written(path, config, root, services, frozenset(named), library)


def _included(config: schema.ConfigFile, root: Place, problems: Problems) -> Iterator[tuple[schema.IncludedFile, Place]]:
    for position, pattern in enumerate(config.include):
        for file in _files(pattern, root / "include" / position, problems):
            document = yaml_file.read(file, problems)
            section = shape(schema.IncludedFile, Place(document), problems) if document is not None else None
            if document is not None and section is not None:
                yield section, Place(document)


def _files(pattern: str, place: Place, problems: Problems) -> list[Path]:
    """What the pattern stands for; only one that is a plain name has to stand for something."""
    anchor = Path(pattern).anchor
    base = Path(anchor) if anchor else place.document.file.parent
    try:
        files = sorted(base.glob(str(Path(pattern).relative_to(anchor)) if anchor else pattern))
    except ValueError as e:
        problems.error(place, f"{pattern!r}: {e}")
        return []
    if not files and not any(sign in pattern for sign in "*?["):
        problems.error(place, f"{pattern!r}: there is no such file beside the config")
    return files
