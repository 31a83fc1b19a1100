"""The environment of a command: from nothing, plus what every command needs, plus what its step names. Never rollbackd's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from rollbackd.errors import MisconfiguredError
from rollbackd.model.policy import ServicePolicy
from rollbackd.model.runbook import EnvironmentValue

INHERITED: Final = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Taken over from the daemon where it has them; everything else a step has to name."""

MARK: Final = "ROLLBACKD_ATTEMPT"
"""Names the attempt to its processes: a key for idempotent tools, and how a process that left its session is found again."""

_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


ReadSecret = Callable[[str], str]
"""The secret in a file. Raises MisconfiguredError when there is none."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a process is started with. `secrets` are the values in it that may appear nowhere (I13)."""

    variables: Mapping[str, str]
    secrets: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Environment({', '.join(sorted(self.variables))})"


class Environments:
    """Reads a credential when a process needs it and keeps none: a rotated file counts from the next command on."""

    def __init__(self, inherited: Mapping[str, str], read_secret: ReadSecret) -> None:
        own = {name: inherited[name] for name in INHERITED if name in inherited}
        self._base = MappingProxyType({"PATH": _DEFAULT_PATH, **own})
        self._read_secret = read_secret

    def path(self, wanted: Mapping[str, EnvironmentValue]) -> str:
        """Where a command is looked for, as `of_step` and `of_question` have it. Reads no secret."""
        own = wanted.get("PATH")
        return own if isinstance(own, str) else self._base["PATH"]

    def of_step(self, policy: ServicePolicy, wanted: Mapping[str, EnvironmentValue], *, mark: str) -> Environment:
        """Only what the step names. Raises MisconfiguredError for a credential that the service does not have."""
        credentials = {name: value.credential for name, value in wanted.items() if not isinstance(value, str)}
        return self._make(policy, wanted, credentials, mark)

    def of_question(self, policy: ServicePolicy, wanted: Mapping[str, EnvironmentValue], *, mark: str) -> Environment:
        """All credentials of the service, each under its own name, then what the question names."""
        named = {name: value.credential for name, value in wanted.items() if not isinstance(value, str)}
        return self._make(policy, wanted, {name: name for name in policy.credentials} | named, mark)

    def _make(
        self, policy: ServicePolicy, wanted: Mapping[str, EnvironmentValue], credentials: Mapping[str, str], mark: str
    ) -> Environment:
        secrets = {variable: self.credential(policy, name) for variable, name in credentials.items()}
        texts = {name: value for name, value in wanted.items() if isinstance(value, str)}
        return Environment({**self._base, **secrets, **texts, MARK: mark}, tuple(secrets.values()))

    def credential(self, policy: ServicePolicy, name: str) -> str:
        """Raises MisconfiguredError for one that the service does not have, or that cannot be read."""
        if name not in policy.credentials:
            raise MisconfiguredError(
                f"{name} is not a credential of {policy.name}: add it there", path=f"services.{policy.name}.credentials"
            )
        return self._read_secret(policy.credentials[name].file)
