"""Apprise's URLs (https://appriseit.com/services/): each says what service it is for and holds its secrets."""

from pathlib import Path

from rollbackd.errors import MisconfiguredError
from rollbackd.settings.secrets import read_secret


def read_apprise_url(path: Path) -> str:
    """Raises MisconfiguredError as `read_secret`, and when Apprise can make nothing of it. Nothing is sent."""
    import apprise  # noqa: PLC0415 - 150 ms that only those pay who have such a channel

    url = read_secret(path).strip()
    if apprise.Apprise.instantiate(url, suppress_exceptions=True) is None:
        raise MisconfiguredError("holds no URL that Apprise knows: one line such as slack://TokenA/TokenB/TokenC", path=str(path))
    return url
