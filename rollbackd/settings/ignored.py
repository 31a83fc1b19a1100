"""Keys that the config format has and this version does not act on. Whoever writes one is told: they may rely on it."""

from collections.abc import Iterable
from typing import Final

from rollbackd.model.policy import WhileRolling
from rollbackd.settings.document import Place
from rollbackd.settings.problems import Problems
from rollbackd.settings.schema import ConfigFile, ServiceSettings

_TOP: Final = ("units",)
_OF_THE_DAEMON: Final = ("retention", "shutdown_grace")


def warn(config: ConfigFile, root: Place, services: Iterable[tuple[ServiceSettings, Place]], problems: Problems) -> None:
    for key in _TOP:
        if key in config.model_fields_set:
            _warn(key, root / key, problems)
    _warn_settings(config.defaults, root / "defaults", problems)
    templates = [(section, root / "templates" / name) for name, section in config.templates.items()]
    for section, place in [*templates, *services]:
        _warn_settings(section, place, problems)
        for key in _OF_THE_DAEMON:
            if key in section.model_fields_set:
                problems.warn(place / key, f"{key} holds for the whole daemon: here it is not acted on, write it under 'defaults'")


def _warn_settings(section: ServiceSettings, place: Place, problems: Problems) -> None:
    if section.while_rolling is WhileRolling.ABORT:
        _warn("while_rolling: abort", place / "while_rolling", problems)


def _warn(what: str, place: Place, problems: Problems) -> None:
    problems.warn(place, f"{what} is accepted but not acted on by this version")
