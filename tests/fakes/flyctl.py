"""The stand-in `fly` from a test's point of view: set its state, read what was done to it."""

from datetime import datetime
from pathlib import Path

from rollbackd.clock import rfc3339

_SCRIPT = Path(__file__).with_name("fly")


class Fly:
    """Installs `fly` into `directory`, to be put into PATH; its state lies beside it."""

    def __init__(self, directory: Path) -> None:
        self.program = directory / "fly"
        self.program.symlink_to(_SCRIPT)
        self._state = directory / "fly-state"
        self._state.mkdir()

    def add_release(self, app: str, image: str, *, at: datetime, status: str = "complete", machines: int = 2) -> None:
        """A newest release of `app`; one that is complete is what its machines run."""
        releases = self._of(app) / "releases"
        older = releases.read_text() if releases.exists() else ""
        releases.write_text(f"{older.count(chr(10)) + 1}\t{status}\t{image}\t{rfc3339(at)}\n{older}")
        if status == "complete":
            self.run_images(app, *[image] * machines)

    def run_images(self, app: str, *images: str) -> None:
        """One machine for each of `images`, behind fly's back."""
        (self._of(app) / "machines").write_text("".join(f"m{number}\t{image}\n" for number, image in enumerate(images)))

    def require_token(self, app: str, token: str) -> None:
        (self._of(app) / "token").write_text(token)

    def fail(self, command: str, message: str, *, after_effect: bool = False) -> None:
        """From now on; `after_effect` (deploy only): it is done, and fails all the same."""
        (self._state / (f"fail-after-{command}" if after_effect else f"fail-{command}")).write_text(message)

    def running(self, app: str) -> set[str]:
        return {line.split("\t")[1] for line in (self._of(app) / "machines").read_text().splitlines()}

    def stopped(self, app: str) -> set[str]:
        """The ids of the machines that are stopped."""
        file = self._of(app) / "stopped"
        return set(file.read_text().split()) if file.exists() else set()

    def effects(self) -> list[list[str]]:
        """The argv of every deploy that took effect, in order."""
        log = self._state / "effects"
        deploys = log.read_bytes().decode().split("\0\0")[:-1] if log.exists() else []
        return [argv.split("\0") for argv in deploys]

    def _of(self, app: str) -> Path:
        directory = self._state / app
        directory.mkdir(exist_ok=True)
        return directory
