"""Addresses of the network that nobody is asked at on another's word: those where clouds keep their secrets."""

from __future__ import annotations

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "fd00:ec2::254", "fd20:ce::254", "fd00:42::42", "100.100.100.200", "168.63.129.16", "192.0.0.192"
    )
)  # fmt: skip
"""Metadata services that are not link-local: of AWS, Google and Scaleway over IPv6, of Alibaba, Azure and Oracle."""
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_FIRST_WRAPPED = 1 << 24
"""Below that, `::1` and its like are no IPv4 addresses in IPv6."""


def address_of(text: str) -> Address | None:
    """The address that a text is, without its zone and the IPv6 that only wraps an IPv4 one; None: it is a name."""
    try:
        return _plain(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None


def why_never_asked(address: Address) -> str:
    """What kind of address this is that must not be asked; empty when it may be."""
    if address.is_link_local:
        return "is link-local, and there clouds keep their secrets"
    return "is where a cloud keeps its secrets" if address in _METADATA else ""


def _plain(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    low = int(address) & 0xFFFFFFFF
    if address in _NAT64 or address in _NAT64_LOCAL or (address in _COMPATIBLE and low >= _FIRST_WRAPPED):
        return ipaddress.IPv4Address(low)
    return address.ipv4_mapped or address.sixtofour or address
