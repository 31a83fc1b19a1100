"""The shipped rules and route, made quick enough to watch: text for text the files of the checkout, but for durations and addresses.

Each file is changed by substitution and each change is returned, so that the demo can say exactly what it does not show as shipped.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rollbackd.errors import MisconfiguredError

_RULES: Final = ("rollback-alerts.yml", "recording-rules.yml", "service-down.yml")  # rollbackd.yml is about days, not seconds
_DURATION: Final = r"\d+(?:ms|[smhd])"
_WEBHOOK: Final = "http://127.0.0.1:9096/webhook/alertmanager"
_TOKEN: Final = "/etc/alertmanager/rollbackd.token"  # noqa: S105 - the name of a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast the demo's servers live, as the texts of their own durations."""

    interval: str = "1s"  # scrapes and evaluations
    window: str = "5s"  # of the rates: at least four scrapes
    hold_for: str = "2s"  # `for` of the alert rules
    group_interval: str = "1s"


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a shipped file that the demo does not use as it stands."""

    file: str
    line: int
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.before} → {self.after}"


def checkout() -> Path:
    """The directory that holds `alert_rules/` and `config/`.

    Raises:
        MisconfiguredError: rollbackd is installed without its checkout.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "alert_rules").is_dir():
        raise MisconfiguredError("the demo uses the shipped alert rules: run `make demo` in a checkout of rollbackd", path=str(root))
    return root


def write_rules(directory: Path, pace: Pace) -> tuple[Change, ...]:
    """The shipped alert and recording rules into `directory`, with `for` and rate windows shortened."""

    def shorten(line: str) -> str:
        line = re.sub(rf"^(\s*for: ){_DURATION}$", rf"\g<1>{pace.hold_for}", line)
        return re.sub(rf"\[{_DURATION}\]", f"[{pace.window}]", line)

    return tuple(change for name in _RULES for change in _copy(Path("alert_rules") / name, directory / name, shorten))


def write_alertmanager_config(path: Path, pace: Pace, *, webhook_url: str, token_file: Path) -> tuple[Change, ...]:
    """The shipped route and receivers into `path`, pointed at `webhook_url`."""

    def adapt(line: str) -> str:
        line = re.sub(rf"^(\s*group_interval: ){_DURATION}$", rf"\g<1>{pace.group_interval}", line)
        return line.replace(_WEBHOOK, webhook_url).replace(_TOKEN, str(token_file))

    return tuple(_copy(Path("config/alertmanager.yml"), path, adapt))


def _copy(shipped: Path, to: Path, adapt: Callable[[str], str]) -> list[Change]:
    before = (checkout() / shipped).read_text(encoding="utf-8").splitlines()
    after = [adapt(line) for line in before]
    to.write_text("\n".join(after) + "\n", encoding="utf-8")
    return [
        Change(str(shipped), number, old.strip(), new.strip())
        for number, (old, new) in enumerate(zip(before, after, strict=True), start=1)
        if old != new
    ]
