"""What a running daemon cannot change. A config that changes one of these is refused whole: in use is one file, and not halves of two."""

from collections.abc import Iterator

from rollbackd.settings.document import Place
from rollbackd.settings.effective import Settings
from rollbackd.settings.load import Loaded
from rollbackd.settings.problems import InvalidConfigError, Problems


def check(in_use: Settings, loaded: Loaded) -> None:
    """Raises InvalidConfigError, naming each."""
    problems = Problems()
    for place in _changed(in_use, loaded.settings, loaded.root):
        name = ".".join(str(key) for key in place.path)
        problems.error(place, f"{name!r} counts only from a start on: restart rollbackd, or put back what was there")
    if problems.errors:
        raise InvalidConfigError(problems.errors)


def _changed(old: Settings, new: Settings, root: Place) -> Iterator[Place]:
    server = root / "server"
    if (old.server.host, old.server.port) != (new.server.host, new.server.port):
        yield server / "listen"
    before, after = old.server.tls, new.server.tls
    if (before is None) is not (after is None):
        yield server / "tls"
    elif before is not None and after is not None and (before.client_ca_file is None) is not (after.client_ca_file is None):
        yield server / "tls" / "client_ca_file"
    if old.store_url != new.store_url:
        yield root / "store" / "url"
    if old.sentry != new.sentry:
        yield root / "sentry"
