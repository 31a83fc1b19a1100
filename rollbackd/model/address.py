"""Addresses that are asked by nobody: link-local ones, where a cloud hands the machine's credentials to whoever asks."""

from ipaddress import ip_address, ip_network
from typing import Final

_LINK_LOCAL: Final = (ip_network("169.254.0.0/16"), ip_network("fe80::/10"), ip_network("fd00:ec2::254/128"))


def is_link_local(host: str) -> bool:
    """Whether `host` is such an address; a name is none, it has to be resolved first."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in _LINK_LOCAL)
