"""Keys and certificates of hosts that nobody could log in with here, each said once however many hosts share it."""

from __future__ import annotations

from collections.abc import Iterable

from opsqueue.connectors.ssh.keyfile import doubts
from opsqueue.model.host import Host

_SHOWN = 3


def unusable(hosts: Iterable[Host]) -> list[str]:
    """What is wrong with each, and for which hosts; a worker elsewhere, or of another user, may see it otherwise."""
    found: dict[str, list[str]] = {}
    for host in hosts:
        for doubt in doubts(host):
            found.setdefault(doubt, []).append(host.name)
    return [f"{_said(names)}: {doubt}" for doubt, names in found.items()]


def _said(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
