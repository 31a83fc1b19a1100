"""Looks the daemon itself over, and then every service: what `rollbackd doctor` shows."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from rollbackd.errors import RollbackdError
from rollbackd.flow.in_use import InUse
from rollbackd.flow.readiness import check_room
from rollbackd.flow.rounds import Rounds
from rollbackd.model.readiness import Readiness
from rollbackd.prometheus.servers import ServerAnswer, ask_server
from rollbackd.settings.load import RUNBOOKS
from rollbackd.store.store import Store
from rollbackd.supervisor import together

FRESH: Final = timedelta(seconds=10)
"""What was found so short a time ago is not asked again, however often somebody looks (I14)."""

PATIENCE: Final = timedelta(seconds=20)
"""Under the patience of whoever asks over HTTP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """`store_problem` is empty when the store has just answered, kept what was written last, and has room for the journal of a run.

    `config_changed` names the files that the daemon has not read.
    """

    store_problem: str
    config: Path
    config_read_at: datetime
    config_changed: tuple[Path, ...]
    servers: tuple[ServerAnswer, ...]
    services: tuple[Readiness, ...]


class Doctor:
    def __init__(self, *, in_use: InUse, store: Store, rounds: Rounds) -> None:
        self._in_use = in_use
        self._store = store
        self._rounds = rounds

    async def diagnose(self) -> Diagnosis:
        """Takes `PATIENCE` at most; a service that has not answered by then is as it was found last."""
        async with together() as group:
            servers = [group.create_task(ask_server(name, client)) for name, client in self._in_use.spare.items()]
            services = group.create_task(self._rounds.again(older_than=FRESH, within=PATIENCE))
            store = group.create_task(self._store_problem())
        config = self._in_use.config
        return Diagnosis(
            store_problem=store.result(),
            config=config.settings.path,
            config_read_at=config.read_at,
            config_changed=_changed(config.settings.path, config.read_at),
            servers=tuple(server.result() for server in servers),
            services=services.result(),
        )

    async def _store_problem(self) -> str:
        try:
            await self._store.ping()
        except RollbackdError as e:
            return str(e)
        check = check_room(await self._store.room())
        return check.detail if check.verdict.is_problem else ""


def _changed(config: Path, since: datetime) -> tuple[Path, ...]:
    """The config and the runbooks beside it, as far as they are newer than what was read of them, or gone."""
    files = (config, *sorted((config.parent / RUNBOOKS).glob("*.yaml")))
    return tuple(file for file in files if not file.exists() or datetime.fromtimestamp(file.stat().st_mtime, UTC) > since)
