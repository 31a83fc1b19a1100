"""A deploy tool: it holds the live version, logs each effect, and behaves as badly as a test wants it to."""

from pathlib import Path

_SCRIPT = """#!/bin/sh
here=${0%/*}
case $1 in
deploy)
    . "$here/before"
    echo "$ROLLBACKD_ATTEMPT $2" >> "$here/effects"
    echo "$2" > "$here/live.new" && mv "$here/live.new" "$here/live"
    . "$here/after"
    ;;
live)
    . "$here/asked"
    cat "$here/live"
    ;;
esac
"""


class Tool:
    """`tool deploy ARTIFACT` and `tool live`. The effects log is the oracle: what was really done, and by which attempt."""

    def __init__(self, directory: Path, *, live: str) -> None:
        self._directory = directory
        self.program = directory / "tool"
        self.program.write_text(_SCRIPT)
        self.program.chmod(0o755)
        self.live = live
        self.behave()

    def behave(self, *, before: str = "", after: str = "", asked: str = "") -> None:
        """Shell that runs before and after the effect of a deploy, and when the live version is asked for."""
        for name, script in (("before", before), ("after", after), ("asked", asked)):
            (self._directory / name).write_text(script)

    @property
    def live(self) -> str:
        return (self._directory / "live").read_text().strip()

    @live.setter
    def live(self, artifact: str) -> None:
        """Somebody deploys behind rollbackd's back."""
        (self._directory / "live").write_text(f"{artifact}\n")

    def effects(self) -> list[tuple[str, str]]:
        """Attempt and artifact of every deploy that took effect, in order."""
        log = self._directory / "effects"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(attempt, artifact) for attempt, _, artifact in (line.partition(" ") for line in lines)]
