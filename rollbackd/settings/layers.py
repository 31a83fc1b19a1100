"""One service with what lies beneath it: defaults, over them its template, over that what it says itself.

A setting replaces the one beneath it as a whole. Only maps of named things (`vars`, `credentials`) and of limits (`budget`, `watch`,
`approval`, `fleet_brake`) are joined key by key, so that a service changes one of them without repeating the rest.
"""

from dataclasses import dataclass
from typing import Any, Final

from rollbackd.settings.document import Place
from rollbackd.settings.schema import ServiceSettings
from rollbackd.settings.section import Section

_JOINED: Final = frozenset({"vars", "credentials", "budget", "watch", "approval", "fleet_brake"})


@dataclass(frozen=True, slots=True)
class Layered:
    """`places` are where it may be written, the strongest first: the service, its template, the defaults, the file itself."""

    name: str
    settings: ServiceSettings
    places: tuple[Place, ...]

    @property
    def place(self) -> Place:
        return self.places[0]

    def at(self, *path: str | int) -> Place:
        """Where the setting at `path` comes from; where it is not written, the nearest thing around it that is."""
        for length in range(len(path), 0, -1):
            found = self._find(path[:length])
            if found is not None:
                return found
        return self.place

    def writes(self, setting: str) -> bool:
        """Whether it is written anywhere, also when what is written there was refused."""
        return self._find((setting,)) is not None

    def _find(self, path: tuple[str | int, ...]) -> Place | None:
        places = (Place(base.document, base.path + path) for base in self.places)
        return next((place for place in places if place.written), None)


def overlay(below: ServiceSettings, above: ServiceSettings) -> ServiceSettings:
    """`below` with everything that is written in `above`."""
    written = above.model_fields_set & ServiceSettings.model_fields.keys()
    return below.model_copy(update={name: _join(name, below, getattr(above, name)) for name in written})


def _join(name: str, below: ServiceSettings, value: Any) -> Any:
    if name not in _JOINED:
        return value
    beneath = getattr(below, name)
    return beneath.with_overrides(value) if isinstance(value, Section) else {**beneath, **value}
