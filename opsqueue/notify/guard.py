"""Where a webhook may lead: an address of the inside only when it was written down as one.

Whoever owns a public name decides where it leads, and may let it lead to a machine of ours, or to the metadata service
of a cloud. So a name of the public Internet must lead to a public address, unless the configuration says that it need
not; what is written as an address of the inside (`localhost`, `10.0.0.5`, `hooks`, `hooks.internal`) is meant so.
Addresses where clouds keep their secrets, such as all of a single link, are never asked. What was looked up is what is
connected to: a name that leads elsewhere at the second look gains nothing.
"""

from __future__ import annotations

import socket

from opsqueue.model.addresses import address_of, why_never_asked

_INSIDE = ("localhost", "local", "internal", "intranet", "lan", "home.arpa", "test")


class Refused(ValueError):
    """The name leads to where a webhook must not go; the message says what to change."""


def reach(host: str, port: int, timeout: float, *, private: bool) -> socket.socket:
    """A connection to the first address of this host that answers; Refused when one of them must not be asked."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    inside = private or says_inside(host)
    for *_, where in found:
        if problem := _problem(host, str(where[0]), inside=inside):
            raise Refused(problem)
    error: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, where in found:
        connection = socket.socket(family, kind, protocol)
        connection.settimeout(timeout)
        try:
            connection.connect(where)
        except OSError as failed:
            connection.close()
            error = failed
        else:
            return connection
    raise error


def says_inside(host: str) -> bool:
    """Whether a host is written so that only a machine of the inside can be meant."""
    name = host.lower().rstrip(".")
    if (address := address_of(name)) is not None:
        return not address.is_global
    return "." not in name or any(name == end or name.endswith(f".{end}") for end in _INSIDE)


def _problem(host: str, text: str, *, inside: bool) -> str:
    address = address_of(text)
    if address is None:
        return ""
    if why_never_asked(address) or address.is_multicast or address.is_unspecified:
        return f"{host} leads to {address}, to which no webhook is sent"
    if not address.is_global and not inside:
        return (
            f"{host} leads to the private address {address}: if that is meant, set private_addresses in the "
            "notification_rules of this channel"
        )
    return ""
