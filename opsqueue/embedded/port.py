"""Whether a server could listen at an address, asked before it is started: its own words come late, and often."""

from __future__ import annotations

import socket
from typing import Any


def why_not(address: str, port: int) -> str:
    """Why nothing can listen there, in the system's words; empty: something can. Port 0 is any that is free."""
    try:
        found = socket.getaddrinfo(address or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, _, _, place in found:
            _try(socket.socket(family, kind), place)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _try(tried: socket.socket, place: Any) -> None:
    with tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do; or a restart had to wait
        if tried.family == socket.AF_INET6:
            tried.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        tried.bind(place)
        tried.listen(1)  # what is bound twice by SO_REUSEADDR is refused only here
