"""Apprise's URLs (https://appriseit.com/services/): each says what service it is for and holds its secrets."""

from pathlib import Path

from rollbackd.errors import MisconfiguredError
from rollbackd.settings.secrets import read_secret


def read_apprise_url(path: Path) -> str:
    """Raises MisconfiguredError as `read_secret`, and when Apprise can make nothing of it. Nothing is sent."""
    url = read_secret(path).strip()
    if not is_web_address(url) and not _is_known(url):
        raise MisconfiguredError("holds no URL that Apprise knows: one line such as slack://TokenA/TokenB/TokenC", path=str(path))
    return url


def is_web_address(url: str) -> bool:
    """Of no service that Apprise knows by its address, as it knows Slack's: a webhook of somebody's own."""
    return url.startswith(("http://", "https://")) and not _is_known(url)


def _is_known(url: str) -> bool:
    import apprise  # noqa: PLC0415 - 150 ms that only those pay who have such a channel

    return apprise.Apprise.instantiate(url, suppress_exceptions=True) is not None
