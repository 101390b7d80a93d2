"""Who may hear the proof of a password: the server that is surely meant, or one on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from typing import Any

from opsqueue.connectors.probes.kit import option

WAY = "give the check `tls` with `verify_tls`, or ask it on a loopback address"


def proven(options: Mapping[str, Any]) -> bool:
    """Whether TLS shows that it is the server that is meant; to be asked once TLS has begun."""
    return option(options, "tls", bool, False) is True and option(options, "verify_tls", bool, True) is True


def may_hear(address: str, options: Mapping[str, Any]) -> bool:
    """Whether a password, or what it can be guessed from, may go to this address: where nobody listens on the way."""
    return proven(options) or _on_this_machine(address)


def _on_this_machine(address: str) -> bool:
    found = ip_address(address)
    inner = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return (inner or found).is_loopback
